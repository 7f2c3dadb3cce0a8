"""What an outputs folder holds that its results do not need."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xai_framework.store.atomic import is_abandoned, is_temporary, remove
from xai_framework.store.cell import open_cell
from xai_framework.store.run import read_run


@dataclass(frozen=True)
class Garbage:
    """Something that may go: ``bytes`` are freed by ``remove``, and ``why`` nothing is lost."""

    path: Path
    bytes: int
    why: str
    remove: Callable[[], object]


def garbage(outputs: Path, *, cells: bool = False) -> list[Garbage]:
    """Everything below an outputs folder that may go; with ``cells`` also cells that no study names.

    Not to be removed while a run is writing there.
    """
    records = [read_run(run) for run in _runs(outputs)]
    named = {(outputs / c["file"]).resolve() for r in records for c in (*r["cells"], *r["values"])}
    homes = {path.parent for path in named}
    return [
        *_temporaries(outputs / "store"),
        *(
            g
            for file in sorted((outputs / "store").glob("*/*/cell.json"))
            for g in _of_cell(file.parent, named, homes, cells)
        ),
    ]


def _runs(outputs: Path) -> list[Path]:
    return sorted(p.parent for p in (outputs / "runs").glob("*/run.json"))


def _temporaries(store: Path) -> Iterator[Garbage]:
    for path in sorted(store.rglob(".tmp-*")):
        if is_temporary(path) and is_abandoned(path):
            yield Garbage(path, path.stat().st_size, "left over from an interrupted write", partial(remove, path))


def _of_cell(folder: Path, named: set[Path], homes: set[Path], cells: bool) -> Iterator[Garbage]:
    if folder.resolve() not in homes:
        if cells:
            yield Garbage(folder, _size(folder), "no study names this cell", partial(shutil.rmtree, folder))
        return
    for path in sorted(folder.glob("maps-*.h5")):
        if path.resolve() not in named:
            yield Garbage(path, path.stat().st_size, "no study names this file", partial(_remove_merged, path))
    cell = open_cell(folder)
    freed = cell.compact(dry=True)
    if freed:
        why = "these shards are all in merged files, which take their place"
        yield Garbage(folder / "shards", freed, why, cell.compact)


def _remove_merged(path: Path) -> None:
    remove(path)
    remove(path.with_suffix(".json"))


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
