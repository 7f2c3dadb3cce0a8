"""A study's folder: which cells it consists of, under which labels; opened lazily."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from xai_framework.core.environment import unveiled, veiled
from xai_framework.core.errors import StoreError, did_you_mean
from xai_framework.store import foreign
from xai_framework.store.atomic import write_atomic
from xai_framework.store.cost import Cost, cost_of
from xai_framework.store.damage import damaged
from xai_framework.store.identity import canonical
from xai_framework.store.reader import MapFile, StoredRow, check_present

if TYPE_CHECKING:
    import xarray

RECORD = "run.json"
LARGEST_RECORD = 64 << 20


def write_run(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write run.json; two runs under one name add up. Returns the record of both.

    ``record["cells"]`` are dicts with at least ``label``, ``id`` (of the cell) and ``file`` (the merged file, relative
    to the outputs folder). A cell takes the place of an earlier one of the same label, id and dataset; all other
    entries are those of the latest run. A record that says nothing new is not written. What a cell's configuration
    took from the environment is written by its name.
    """
    file = folder / RECORD
    record = _with_configs(record, veiled)
    with _locked(folder):
        before = _read(folder) if file.is_file() else {"cells": []}
        united = dict(record)
        for name in ("cells", "values"):
            both = {_cell_key(c): c for c in (*before.get(name, ()), *record.get(name, ()))}
            united[name] = list(both.values())
        if united != before:
            write_atomic(file, json.dumps(united, indent=1, ensure_ascii=False, allow_nan=False).encode())
    return united


def read_run(folder: Path) -> dict[str, Any]:
    """The record of a study. Raises StoreError where it is missing, damaged, or names files outside the outputs.

    Datasets that were found by the environment are found by this process's environment.
    """
    return _with_configs(_read(folder), unveiled, keys=("dataset",))


def _with_configs(
    record: Mapping[str, Any], change: Callable[[Any], Any], keys: Sequence[str] = ("dataset", "method", "recipe")
) -> dict[str, Any]:
    changed = {
        name: [{k: change(v) if k in keys else v for k, v in cell.items()} for cell in record.get(name, ())]
        for name in ("cells", "values")
    }
    return {**record, **changed}


def _read(folder: Path) -> dict[str, Any]:
    """The record as it is written."""
    file = folder / RECORD
    try:
        if file.stat().st_size > LARGEST_RECORD:
            raise StoreError("is too large for a run record", where=str(file))
        record = json.loads(file.read_text("utf-8"))
        _check_types(record)
    except FileNotFoundError:
        raise StoreError("no run is stored here", where=str(folder), fix=f"give a folder that holds {RECORD}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fix = "delete it and run the study again; no map is computed anew"
        raise StoreError("is damaged", where=str(file), fix=fix) from None
    outputs = _outputs(folder)
    for cell in _entries(record):
        if not _is_inside(outputs / cell["file"], outputs):
            raise StoreError(f"names a file outside the outputs folder: {cell['file'][:80]!r}", where=str(file))
    return dict(record)


def _entries(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All cells of a record, of maps and of metrics."""
    return [*record["cells"], *record.get("values", ())]


def _check_types(record: Mapping[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError where a record is not as a run writes it."""
    texts = [cell[key] for cell in _entries(record) for key in ("label", "id", "file")]
    texts += [cell["metric"] for cell in record.get("values", ())]
    texts += [record.get(key, "") for key in ("study", "command", "config_yaml")]
    maps = [record.get("versions", {})]
    for cell in _entries(record):
        texts += [cell.get(key, "") for key in ("backbone", "target")]
        maps += [cell.get(key, {}) for key in ("method", "dataset", "measure")]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(value, dict) for value in maps):
        raise TypeError
    json.dumps(record, ensure_ascii=False, allow_nan=False).encode()  # no NaN, and no half of a character


def _is_inside(file: Path, folder: Path) -> bool:
    try:
        return file.resolve().is_relative_to(folder)
    except (OSError, ValueError):  # a name that no disk takes
        return False


class StoredMaps:
    """The maps of one cell, read when asked for: ``maps[3]`` is (C,h,w); ``maps[:9]``, ``np.asarray(maps)`` (n,C,h,w).

    ``facts`` say what the cell is: label, backbone, target, method, dataset. Raises StoreError for a file that is not
    what the store wrote; ``examine`` reads it in a process of its own before, whatever its checksum says.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], *, examine: bool = False) -> None:
        self.path, self.facts, self._examine = path, dict(facts), examine

    @cached_property
    def file(self) -> MapFile:
        """The open file."""
        self._check()
        return MapFile(self.path)

    def _check(self) -> None:
        check_present(self.path)
        if self._examine:
            foreign.examine(self.path)
        # damage that HDF5 itself would not notice: metadata has no checksum of its own
        if foreign.sealed(self.path) is False:
            raise damaged(self.path)

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:  # noqa: ANN401 - whatever numpy takes
        return self.file.attribution[index]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: ANN401 - numpy's protocol
        return np.asarray(self.file.attribution, dtype=dtype)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N,C,h,w)."""
        return self.file.attribution.shape

    @property
    def ids(self) -> tuple[str, ...]:
        """Image ids in order."""
        return self.file.ids

    @property
    def cost(self) -> Cost | None:
        """What computing it took, per image; None where it is not known, as for a file by itself."""
        return cost_of(self.path.parent / "shards")

    def row(self, i: int) -> StoredRow:
        """Map i with target, score, status and the rest."""
        return self.file.row(i)

    def to_xarray(self) -> xarray.Dataset:
        """The cell as an xarray Dataset, lazily. Needs the extra ``xarray``."""
        try:
            import xarray

            importlib.import_module("h5netcdf")  # xarray's engine for these files
        except ImportError:
            raise StoreError("xarray is not installed", fix='pip install "xai-framework[xarray]"') from None
        self._check()
        with MapFile(self.path):  # refuses what reaches outside the file
            return xarray.open_dataset(self.path, engine="h5netcdf")

    def __repr__(self) -> str:
        return f"StoredMaps({self.facts.get('label')!r} on {self.facts.get('backbone')!r}, shape {self.shape})"


class StoredValues(StoredMaps):
    """What one metric says of one cell of maps: a number an image. ``facts`` hold ``metric`` beside the cell's own."""

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """(N,), in the order of ``ids``; NaN where there is none, with the reason in :meth:`row`."""
        return np.asarray(self.file.attribution)[:, 0, 0, 0].astype(np.float64)

    @property
    def higher_is_better(self) -> bool:
        """Where good is."""
        return self.file.attributes.get("better") != "lower"

    @property
    def range(self) -> tuple[float, float]:
        """Which values there can be."""
        try:
            low, high = (float(bound) for bound in json.loads(self.file.attributes["range"]))
        except (KeyError, ValueError, TypeError):  # an older file, or a stranger's
            return -np.inf, np.inf
        return low, high


class Run(Mapping[str, StoredMaps]):
    """A stored study. ``run["gradcam"]`` gives that method's maps, ``measures`` are what metrics say of them.

    With several backbones or targets the name is ``label @ backbone, target`` (``select`` finds them by part).
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], outputs: Path, *, examine: bool = False) -> None:
        self.folder, self.record = folder, dict(record)
        self.cells = [StoredMaps(outputs / c["file"], c, examine=examine) for c in record["cells"]]
        self.measures = [StoredValues(outputs / c["file"], c, examine=examine) for c in record.get("values", ())]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all images, each once, in order."""
        return tuple(dict.fromkeys(i for cell in self.cells for i in cell.ids))

    def select(
        self, label: str | None = None, backbone: str | None = None, target: str | None = None
    ) -> list[StoredMaps]:
        """All cells that match."""
        wanted = {"label": label, "backbone": backbone, "target": target}
        return [c for c in self.cells if all(v is None or c.facts.get(k) == v for k, v in wanted.items())]

    @cached_property
    def _names(self) -> dict[str, StoredMaps]:
        """Each cell by the shortest name that tells it from the others."""
        forms = [
            [f["label"] for f in self._facts],
            [f"{f['label']} @ {f.get('backbone', '')}, {f.get('target', '')}" for f in self._facts],
            [f"{f['label']} @ {f['file']}" for f in self._facts],
        ]
        counts = [Counter(names) for names in forms]
        shortest = (
            next((name for name, count in zip(names, counts, strict=True) if count[name] == 1), names[-1])
            for names in zip(*forms, strict=True)
        )
        return dict(zip(shortest, self.cells, strict=True))

    @property
    def _facts(self) -> list[dict[str, Any]]:
        return [c.facts for c in self.cells]

    def __getitem__(self, name: str) -> StoredMaps:
        if name not in self._names:
            raise StoreError(f"no method {name!r}", where=str(self.folder), fix=did_you_mean(name, self._names))
        return self._names[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def to_xarray(self) -> dict[str, xarray.Dataset]:
        """Each cell as an xarray Dataset, lazily. Needs the extra ``xarray``."""
        return {name: maps.to_xarray() for name, maps in self._names.items()}

    def __repr__(self) -> str:
        return f"Run({self.folder.name!r}: {', '.join(self)})"


def open_run(path: str | Path, *, examine: bool = False) -> Run:
    """A study by its folder, its run.json, or a single result file (.h5). Raises StoreError where it is none.

    ``examine=True`` is for a folder from somebody you do not trust: each file is first read in another process.
    """
    path = Path(path)
    if path.is_file() and path.name != RECORD:
        if examine:
            foreign.examine(path)
        with MapFile(path) as file:
            cell = file.attributes.get("cell", "")
        facts = {"label": path.parent.name.removesuffix(f"-{cell[:12]}"), "id": cell, "file": path.name}
        return Run(path, {"cells": [facts]}, path.parent, examine=examine)
    folder = path.parent if path.name == RECORD else path
    return Run(folder, read_run(folder), _outputs(folder), examine=examine)


def _outputs(folder: Path) -> Path:
    """The outputs folder that a run folder, ``outputs/runs/<study>``, belongs to."""
    return folder.resolve().parent.parent


def _cell_key(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    return cell["label"], cell["id"], canonical(cell.get("dataset"))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time, where the disk knows locks."""
    lock = FileLock(folder / ".run.lock", timeout=60)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise StoreError("is being written by another run", where=str(folder / RECORD), fix="try again") from None
    except (OSError, NotImplementedError):
        pass  # no locks here, or not writable, which writing the record will tell
    try:
        yield
    finally:
        lock.release()
