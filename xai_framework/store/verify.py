"""Finds what is wrong with a stored cell, and clears it away so that the next run computes it anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xai_framework.core.errors import StoreError
from xai_framework.store.atomic import is_abandoned, is_temporary, remove
from xai_framework.store.block import Key
from xai_framework.store.damage import damaged
from xai_framework.store.identity import cell_id, file_digest
from xai_framework.store.journal import NAME_DIGITS, Entry, entry_of
from xai_framework.store.reader import MapFile
from xai_framework.store.schema import HALVED

if TYPE_CHECKING:
    from xai_framework.store.cell import CellStore


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a cell. ``remove`` is the file that has to go, where one has to."""

    file: str
    what: str
    remove: Path | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def problems_of(cell: CellStore) -> Iterator[Problem]:
    """Everything that is wrong with a cell; reads every byte it holds."""
    for path in sorted(cell.path.rglob(".*")):
        if is_temporary(path) and is_abandoned(path):
            yield Problem(str(path.relative_to(cell.path)), "left over from an interrupted write", path)
    yield from _identity_problems(cell)
    shards = cell.shard_files()
    entries, torn = cell.journal.read()
    for line in torn:
        yield Problem(cell.journal_path.name, f"line {line} is damaged")
    held: set[Key] = set()
    for name, path in shards.items():
        found = list(_shard_problems(path, entries.get(name), cell.id))
        yield from found
        if not any(p.remove for p in found) and (entry := entries.get(name) or entry_of(path, cell.id)):
            held.update(entry.keys)
    for name, entry in entries.items():
        lost = [key for key in entry.keys if key not in held]
        if name not in shards and lost:
            yield Problem(f"shards/{name}", f"is gone, and with it {len(lost)} maps, e.g. of {lost[0][0]!r}")
    for path in sorted(cell.path.glob("maps-*.h5")):
        yield from _merged_problems(path, cell)


def repair(cell: CellStore) -> list[Problem]:
    """Remove what is damaged and write the journal anew; returns what is still wrong.

    The next run computes only the rows that are gone. Not to be called while a run is writing to this cell.
    """
    for problem in list(problems_of(cell)):
        if problem.remove:
            remove(problem.remove)
    journal = cell.journal
    known, _ = journal.read()
    shards = cell.shard_files()
    ordered = [name for name in known if name in shards] + [name for name in shards if name not in known]
    journal.replace([entry for name in ordered if (entry := known.get(name) or entry_of(shards[name], cell.id))])
    return list(problems_of(cell))


def digest(folders: Iterable[Path]) -> tuple[str, int]:
    """One checksum over the merged files of cells, by name and content, and how many files were left out: those of
    which maps were computed in smaller passes because memory ran out, which are the same up to rounding only.
    """
    lines, left_out = [], 0
    for folder in sorted(folders):
        for path in sorted(folder.glob("maps-*.h5")):
            with MapFile(path) as file:
                halved = HALVED in file.attributes
            left_out += halved
            if not halved:
                lines.append(f"{folder.parent.name}/{folder.name}/{path.name} {file_digest(path)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest(), left_out


def _identity_problems(cell: CellStore) -> Iterator[Problem]:
    try:
        cell.check_identity()
    except StoreError as error:
        yield Problem("cell.json", error.what)
    if cell.id[:12] != cell.path.name.rsplit("-", 1)[-1]:
        yield Problem("cell.json", "does not belong to this folder")


def _shard_problems(path: Path, entry: Entry | None, cell: str) -> Iterator[Problem]:
    name = f"{path.parent.name}/{path.name}"
    if entry is None:
        yield Problem(name, "is not in the journal; the next run adds it")
    digest = file_digest(path)
    if path.stem != digest[:NAME_DIGITS] or (entry and entry.sha256 != digest):
        yield Problem(name, damaged(path).what, path)
        return
    try:
        with MapFile(path) as file:
            what = _foreign(file, cell)
            if not what and entry and (entry.keys, entry.status) != (tuple(file.keys), tuple(file.columns["status"])):
                what = "holds other rows than the journal says"
    except StoreError as error:
        what = error.what
    if what:
        yield Problem(name, what, path)


def _foreign(file: MapFile, cell: str) -> str:
    if file.attributes.get("cell") != cell:
        return "belongs to another cell"
    try:
        known = cell_id(json.loads(file.attributes["identity"]))
    except (StoreError, ValueError, KeyError, AttributeError):
        known = ""
    return "" if known == cell else "its identity is not that of its cell"


def _merged_problems(path: Path, cell: CellStore) -> Iterator[Problem]:
    mark = cell.merged_mark(path)
    if mark is None:
        yield Problem(path.name, "its checksum is unknown; the next run makes it anew")
        return
    if mark.get("sha256") != file_digest(path):
        yield Problem(path.name, damaged(path).what, path)
        return
    try:
        with MapFile(path) as file:
            what = _foreign(file, cell.id)
            stale = mark.get("source") != cell.source_of(file.keys)
    except StoreError as error:
        what, stale = error.what, False
    if what:
        yield Problem(path.name, what, path)
    elif stale:
        # sound in itself, and perhaps the only copy left
        yield Problem(path.name, "was made of other shards than there are now; the next run makes it anew")
