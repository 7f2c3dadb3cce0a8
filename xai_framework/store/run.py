"""A study's folder: which cells it consists of, under which labels; opened lazily."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.errors import StoreError, did_you_mean
from xai_framework.store.atomic import write_atomic
from xai_framework.store.reader import MapFile, StoredRow

if TYPE_CHECKING:
    import xarray

LARGEST_RECORD = 64 << 20


def write_run(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write run.json; cells of an earlier run under the same name stay (two runs under one name add up)."""
    file = folder / "run.json"
    cells = {(c["label"], c["id"], c["file"]): c for c in _read(file)["cells"]} if file.is_file() else {}
    cells |= {(c["label"], c["id"], c["file"]): c for c in record["cells"]}
    united = {**record, "cells": list(cells.values())}
    data = json.dumps(united, indent=1, ensure_ascii=False).encode()
    if not file.is_file() or file.read_bytes() != data:
        write_atomic(file, data)
    return united


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST_RECORD:
            raise StoreError("is too large for a run record", where=str(file))
        record = json.loads(file.read_text("utf-8"))
        if not isinstance(record, dict) or not isinstance(record.get("cells"), list):
            raise ValueError
    except (OSError, ValueError):
        raise StoreError(
            "is missing or damaged", where=str(file), fix="run the study again; no map is recomputed"
        ) from None
    return record


class StoredMaps:
    """The maps of one cell, read when asked for.

    ``maps[3]`` is (C,h,w); ``maps[:10]`` and ``np.asarray(maps)`` are (n,C,h,w).
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path, self.facts = path, dict(facts)

    @cached_property
    def file(self) -> MapFile:
        """The open file."""
        return MapFile(self.path)

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, index: int | slice) -> NDArray[np.float32]:
        return np.asarray(self.file.attribution[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: ANN401 - numpy's protocol
        return np.asarray(self.file.attribution[...], dtype=dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N,C,h,w)."""
        return tuple(self.file.attribution.shape)

    @property
    def ids(self) -> tuple[str, ...]:
        """Image ids in order."""
        return self.file.ids

    def row(self, i: int) -> StoredRow:
        """Map i with target, score, status and the rest."""
        return self.file.row(i)

    def __repr__(self) -> str:
        return f"StoredMaps({self.facts.get('label')!r} on {self.facts.get('backbone')!r}, shape {self.shape})"


class Run(Mapping[str, StoredMaps]):
    """A stored study. ``run["gradcam"]`` gives that method's maps; with several backbones or targets the name is
    ``label @ backbone, target`` (``select`` finds them by part).
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], outputs: Path) -> None:
        self.folder, self.record = folder, dict(record)
        self.cells = [StoredMaps(outputs / c["file"], c) for c in record["cells"]]

    def select(
        self, label: str | None = None, backbone: str | None = None, target: str | None = None
    ) -> list[StoredMaps]:
        """All cells that match."""
        wanted = {"label": label, "backbone": backbone, "target": target}
        return [c for c in self.cells if all(v is None or c.facts.get(k) == v for k, v in wanted.items())]

    @cached_property
    def _names(self) -> dict[str, StoredMaps]:
        labels = [str(c.facts["label"]) for c in self.cells]
        return {
            n if labels.count(n) == 1 else f"{n} @ {c.facts['backbone']}, {c.facts['target']}": c
            for n, c in zip(labels, self.cells, strict=True)
        }

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
        try:
            import xarray
        except ImportError:
            raise StoreError("xarray is not installed", fix='pip install "xai-framework[xarray]"') from None
        return {name: xarray.open_dataset(maps.path, engine="h5netcdf") for name, maps in self._names.items()}

    def __repr__(self) -> str:
        return f"Run({self.folder.name!r}: {', '.join(self)})"


def open_run(path: str | Path) -> Run:
    """A study by its folder, its run.json, or a single result file (.h5)."""
    path = Path(path)
    if path.suffix in (".h5", ".nc") and path.is_file():
        with MapFile(path) as file:
            facts = {"label": path.parent.name.rsplit("-", 1)[0], "id": file.attributes.get("cell", "")}
        return Run(path, {"cells": [{**facts, "file": path.name, "backbone": "", "target": ""}]}, path.parent)
    folder = path.parent if path.name == "run.json" else path
    record = _read(folder / "run.json")
    outputs = folder.resolve().parent.parent
    for cell in record["cells"]:
        if not (outputs / str(cell.get("file", ""))).resolve().is_relative_to(outputs):
            raise StoreError("names a file outside the outputs folder; refused", where=str(folder / "run.json"))
    return Run(folder, record, outputs)
