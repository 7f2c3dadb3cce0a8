"""Reading result files, also those of strangers: lazily, and refusing what could reach beyond the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from xai_framework.core.errors import StoreError
from xai_framework.core.status import Status
from xai_framework.store.schema import SCHEMA, TEXTS

LARGEST = 1 << 40
"""Bytes a file may declare in one variable."""


@dataclass(frozen=True)
class StoredRow:
    """One stored map and what is known of it; fields as in :class:`Block`."""

    id: str
    content: str
    attribution: NDArray[np.float32]
    status: Status
    reason: str
    target: int
    target_name: str
    score: float
    probability: float
    prediction: int
    prediction_name: str
    prediction_probability: float
    label: str
    view: tuple[float, float, float, float]
    image_size: tuple[int, int]
    input_size: tuple[int, int]


_FIELDS = frozenset(StoredRow.__dataclass_fields__) - {"id", "attribution"}


class MapFile:
    """A shard or a merged file, opened for reading; maps are read when they are asked for.

    Raises StoreError for what is no such file, is damaged, or links outside itself.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise StoreError("no such file", where=str(path))
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            reason = "is truncated" if "truncated" in str(error) else "is no HDF5 file, or is damaged"
            raise StoreError(
                reason, where=str(path), fix="delete it and run again; only its rows are recomputed"
            ) from None
        try:
            self._check()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        return int(self._file["attribution"].shape[0])

    @property
    def attributes(self) -> dict[str, str]:
        """The file's attributes."""
        return {k: str(v) for k, v in self._file.attrs.items()}

    @property
    def attribution(self) -> h5py.Dataset:
        """(N,C,h,w), read where sliced."""
        return self._file["attribution"]

    @cached_property
    def columns(self) -> Mapping[str, Any]:
        """All variables but the maps, texts as str."""
        skip = {"attribution", "image", "channel", "y", "x", "corner", "side"}
        return {n: self._column(n) for n in self._file if n not in skip}

    @property
    def ids(self) -> tuple[str, ...]:
        """Image ids in order."""
        return tuple(self.columns["image_id"])

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(id, content) of each row."""
        return list(zip(self.columns["image_id"], self.columns["content"], strict=True))

    def row(self, i: int) -> StoredRow:
        """Row i with its map."""
        values: dict[str, Any] = {name: column[i] for name, column in self.columns.items() if name in _FIELDS}
        for name in ("target", "prediction", "score", "probability", "prediction_probability"):
            values[name] = values[name].item()
        for name in ("view", "image_size", "input_size"):
            values[name] = tuple(values[name].tolist())
        values["status"] = Status(int(values["status"]))
        return StoredRow(id=self.columns["image_id"][i], attribution=self.map(i), **values)

    def __iter__(self) -> Iterator[StoredRow]:
        return (self.row(i) for i in range(len(self)))

    def map(self, i: int) -> NDArray[np.float32]:
        """The map of row i, (C,h,w). Raises StoreError naming the sample where its checksum fails."""
        try:
            return np.asarray(self.attribution[i])
        except OSError:
            raise StoreError(f"the map of {self.ids[i]!r} is damaged", where=str(self.path), fix="run again") from None

    def chunk(self, i: int) -> tuple[int, bytes]:
        """The stored bytes of map i with their filter mask."""
        mask, raw = self.attribution.id.read_direct_chunk((i, 0, 0, 0))
        return mask, bytes(raw)

    def _column(self, name: str) -> Any:  # noqa: ANN401 - texts or an array
        try:
            values = self._file[name][...]
        except OSError:
            raise StoreError(f"variable {name!r} is damaged", where=str(self.path), fix="run again") from None
        return [v.decode("utf-8", "replace") for v in values] if name in TEXTS else values

    def _check(self) -> None:
        if self._file.attrs.get("schema") != SCHEMA:
            raise StoreError(
                f"schema {str(self._file.attrs.get('schema'))[:40]!r}, this version reads {SCHEMA!r}",
                where=str(self.path),
            )
        for name in self._file:
            link = self._file.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise StoreError(f"{name!r} is a link to elsewhere; refused", where=str(self.path))
            data = self._file[name]
            if not isinstance(data, h5py.Dataset):
                raise StoreError(f"{name!r} is no variable; refused", where=str(self.path))
            if data.external or data.is_virtual or data.dtype.hasobject:
                raise StoreError(f"{name!r} is stored outside the file or holds objects; refused", where=str(self.path))
            if data.size * max(1, data.dtype.itemsize) > LARGEST:
                raise StoreError(
                    f"{name!r} claims {data.size * data.dtype.itemsize} bytes; refused", where=str(self.path)
                )
        missing = {"attribution", "status", "view", "target", *TEXTS} - set(self._file)
        if missing:
            raise StoreError(f"lacks {', '.join(sorted(missing))}", where=str(self.path))
