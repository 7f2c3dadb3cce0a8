"""Reading result files, also those of strangers: lazily, and refusing what could reach beyond the file."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from xai_framework.core.errors import StoreError
from xai_framework.core.status import Status
from xai_framework.store.block import NUMBERS, TEXTS, Key
from xai_framework.store.foreign import guard
from xai_framework.store.schema import SCHEMA, Grid, decode_texts

_RERUN = "delete it and run again; only its rows are computed anew"
_MOST_DEFLATED = 1100
"""deflate cannot do better than 1032 : 1, so a file that claims more lies."""

_ALWAYS_FINE = 1 << 20
"""Bytes that a variable may claim without having them, as dimensions without coordinates do."""

_LONGEST_ATTRIBUTE = 16 << 20
"""Bytes; the longest is the configuration."""

_MOST_PIXELS = 1 << 28
"""No photograph or input is larger; a file that says so would have a page make one."""

_FILTERS = {h5py.h5z.FILTER_LZF: "lzf", h5py.h5z.FILTER_SZIP: "szip", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle"}
_FILTERS |= {32013: "zfp", 32015: "zstd", 32017: "sz", 32026: "blosc2", 307: "bzip2"}
"""Filters that others write; all but lzf and szip come with the package hdf5plugin."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DEFLATE = h5py.h5z.FILTER_DEFLATE
_KNOWN_FILTERS = {h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SHUFFLE, _DEFLATE}


@dataclass(frozen=True)
class StoredRow:
    """One stored map (C,h,w) and what is known of it; fields as in :class:`Block`."""

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


class Chunk(NamedTuple):
    """Where one map lies in a file, and which of its filters were left out."""

    start: int
    size: int
    mask: int


class Maps:
    """The maps of one file (N,C,h,w), float32, read when asked for; indexed as a numpy array is.

    Raises StoreError naming the images whose maps fail their checksum.
    """

    def __init__(self, file: MapFile, data: h5py.Dataset) -> None:
        self._file, self._data = file, data
        self.dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N,C,h,w)."""
        n, c, h, w = self._data.shape
        return n, c, h, w

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[np.float32]:  # noqa: ANN401 - whatever numpy takes
        try:
            if isinstance(index, list | np.ndarray) or (isinstance(index, slice) and (index.step or 1) < 0):
                # h5py takes only rising indices
                positions = np.arange(len(self))[index].tolist()
                return np.stack([self._data[i] for i in positions]) if positions else self._data[:0]
            return np.asarray(self._data[index], np.float32)
        except OSError:
            damaged = ", ".join(repr(i) for i in self.damaged()[:5])
            raise StoreError(f"the map of {damaged} is damaged", where=str(self._file.path), fix=_RERUN) from None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: ANN401 - numpy's protocol
        return np.asarray(self[...], dtype=dtype)

    def damaged(self) -> list[str]:
        """Ids of the images whose maps fail their checksum."""
        return [i for k, i in enumerate(self._file.ids) if not self.whole(k)]

    def whole(self, index: int) -> bool:
        """Whether map ``index`` passes its checksum."""
        try:
            self._data[index]
        except OSError:
            return False
        return True

    def __repr__(self) -> str:
        return f"Maps(shape {self.shape}, {self._file.path.name})"


class MapFile:
    """A shard or a merged file, opened for reading.

    ``columns`` hold one entry a row, ``attribution`` the maps, ``row(i)`` all of one row. Raises StoreError for what is
    no such file, is damaged, claims more than it can hold, or reaches outside itself. A file that the store did not
    write is first examined in another process (see :mod:`xai_framework.store.foreign`), unless ``examined``.
    """

    def __init__(self, path: str | Path, *, examined: bool = False) -> None:
        self.path = Path(path)
        check_present(self.path)
        if not examined:
            guard(self.path)
        self._file = _opened(self.path)
        try:
            self.attributes: dict[str, str] = self._attributes()
            self._check()
        except StoreError:
            self._file.close()
            raise
        except Exception as error:  # damaged metadata makes HDF5 raise almost anything
            self._file.close()
            raise StoreError(f"is damaged: {error}", where=str(path), fix=_RERUN) from None

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
        return len(self.attribution)

    @cached_property
    def attribution(self) -> Maps:
        """The maps, (N,C,h,w)."""
        return Maps(self, self._file["attribution"])

    @property
    def grid(self) -> Grid:
        """(C,h,w) of each map."""
        return self.attribution.shape[1:]

    @cached_property
    def columns(self) -> dict[str, Any]:
        """Everything but the maps: name -> list of str, or an array with one entry a row."""
        return {name: self._column(name) for name in (*TEXTS, *NUMBERS)}

    @property
    def ids(self) -> tuple[str, ...]:
        """Image ids, in order."""
        return tuple(self.columns["image_id"])

    @property
    def keys(self) -> list[Key]:
        """(id, content) of each row."""
        return list(zip(self.columns["image_id"], self.columns["content"], strict=True))

    def row(self, i: int) -> StoredRow:
        """All of row i."""
        c = self.columns
        return StoredRow(
            id=c["image_id"][i],
            content=c["content"][i],
            attribution=self.attribution[i],
            status=Status(int(c["status"][i])),
            view=tuple(c["view"][i].tolist()),
            image_size=tuple(c["image_size"][i].tolist()),
            input_size=tuple(c["input_size"][i].tolist()),
            target=int(c["target"][i]),
            prediction=int(c["prediction"][i]),
            score=float(c["score"][i]),
            probability=float(c["probability"][i]),
            prediction_probability=float(c["prediction_probability"][i]),
            target_name=c["target_name"][i],
            prediction_name=c["prediction_name"][i],
            label=c["label"][i],
            reason=c["reason"][i],
        )

    def __iter__(self) -> Iterator[StoredRow]:
        return (self.row(i) for i in range(len(self)))

    def chunk(self, i: int) -> tuple[int, bytes]:
        """(filter mask, stored bytes) of map i."""
        try:
            mask, raw = self._file["attribution"].id.read_direct_chunk((i, 0, 0, 0))
        except (OSError, RuntimeError) as error:
            raise StoreError(f"cannot be read: {error}", where=str(self.path), fix=_RERUN) from None
        return mask, bytes(raw)

    def chunks(self) -> list[Chunk]:
        """Where each map is stored."""
        maps = self._file["attribution"].id
        try:
            found = [maps.get_chunk_info_by_coord((i, 0, 0, 0)) for i in range(len(self))]
        except (OSError, RuntimeError) as error:
            raise StoreError(f"cannot be read: {error}", where=str(self.path), fix=_RERUN) from None
        if any(chunk.byte_offset is None for chunk in found):
            raise StoreError("lacks a map", where=str(self.path), fix=_RERUN)
        return [Chunk(chunk.byte_offset, chunk.size, chunk.filter_mask) for chunk in found]

    def _column(self, name: str) -> Any:  # noqa: ANN401 - texts or an array
        try:
            values = self._file[name][...]
        except (OSError, RuntimeError):
            raise StoreError(f"{name!r} is damaged", where=str(self.path), fix=_RERUN) from None
        if not _meaningful(name, values):
            raise self._refused(f"{name!r} holds values that mean nothing")
        return decode_texts(values) if name in TEXTS else values

    def _attributes(self) -> dict[str, str]:
        """Everything said of the whole file; each text is bounded before it is read."""
        found = {}
        for name in self._file.attrs:
            kept = self._file.attrs.get_id(name)
            size = math.prod(kept.shape) * kept.dtype.itemsize
            if size > _LONGEST_ATTRIBUTE:
                raise self._refused(f"attribute {name[:40]!r} claims {size} bytes; refused")
            if kept.dtype.hasobject and kept.shape:  # a list may name one long text a million times
                raise self._refused(f"attribute {name[:40]!r} is a list of objects; refused")
            found[name] = str(self._file.attrs[name])
        return found

    def _check_schema(self) -> None:
        schema = self.attributes.get("schema")
        if schema is None:
            raise self._refused(f"is no result file; this version reads {SCHEMA!r}")
        if schema != SCHEMA:
            kind, _, number = schema.partition("/")
            ours, _, latest = SCHEMA.partition("/")
            newer = kind == ours and number.isdecimal() and int(number[:9]) > int(latest)
            fix = "install a newer xai-framework" if newer else "run again to make it anew"
            said = f"has schema {schema[:40]!r}; this version reads {SCHEMA!r}"
            raise StoreError(said, where=str(self.path), fix=fix)

    def _check(self) -> None:
        self._check_schema()
        if missing := {"cell", "identity"} - self.attributes.keys():
            raise self._refused(f"lacks the attributes {', '.join(sorted(missing))}")
        missing = {"attribution", *TEXTS, *NUMBERS} - set(self._file)
        if missing:
            raise self._refused(f"lacks {', '.join(sorted(missing))}")
        size = self.path.stat().st_size
        for name in self._file:
            # the kind of link is asked first: resolving it would already open another file
            if not isinstance(self._file.get(name, getlink=True), h5py.HardLink):
                raise self._refused(f"{name!r} is a link; refused")
            self._check_variable(name, self._file[name], size)
        self._check_shapes()

    def _check_variable(self, name: str, data: object, size: int) -> None:
        if not isinstance(data, h5py.Dataset):
            raise self._refused(f"{name!r} is no variable; refused")
        if data.external or data.is_virtual:
            raise self._refused(f"{name!r} keeps its values outside the file; refused")
        if data.dtype.hasobject or data.dtype.kind not in "fiS":
            raise self._refused(f"{name!r} holds {data.dtype}; refused")
        settings = data.id.get_create_plist()
        filters = {settings.get_filter(k)[0] for k in range(settings.get_nfilters())}
        if foreign := filters - _KNOWN_FILTERS:
            raise self._unreadable(name, min(foreign))
        claimed = max(math.prod(data.shape), math.prod(data.chunks or ())) * data.dtype.itemsize
        if claimed > max(_ALWAYS_FINE, size * (_MOST_DEFLATED if _DEFLATE in filters else 1)):
            raise self._refused(f"{name!r} claims {claimed} bytes, the file has {size}; refused")

    def _check_shapes(self) -> None:
        maps = self._file["attribution"]
        if maps.ndim != 4 or maps.dtype != np.float32 or 0 in maps.shape or maps.chunks != (1, *maps.shape[1:]):
            raise self._refused(f"'attribution' is {maps.dtype} {maps.shape} in chunks of {maps.chunks}; refused")
        rows = maps.shape[0]
        for name, (kind, shape) in NUMBERS.items():
            data = self._file[name]
            if data.shape != (rows, *shape) or data.dtype != np.dtype(kind):
                raise self._refused(f"{name!r} is {data.dtype} {data.shape}, expected {kind} {(rows, *shape)}")
        for name in TEXTS:
            data = self._file[name]
            if data.ndim != 2 or data.shape[0] != rows or data.dtype != np.dtype("S1") or 0 in data.shape:
                raise self._refused(f"{name!r} is {data.dtype} {data.shape}, expected characters of {rows} rows")

    def _unreadable(self, name: str, foreign: int) -> StoreError:
        """How to come by a variable that is stored with another filter than ours."""
        known = _FILTERS.get(foreign)
        package = " (in Python: import hdf5plugin)" if known not in (None, "lzf", "szip") else ""
        return StoreError(
            f"{name!r} is stored with filter {known or foreign}, this version reads none but gzip",
            where=str(self.path),
            fix=f"where that filter is installed{package}, repack the file: h5repack -f GZIP=1 IN OUT",
        )

    def _refused(self, what: str) -> StoreError:
        return StoreError(what, where=str(self.path))


def _meaningful(name: str, values: NDArray[Any]) -> bool:
    """Whether numbers are such as a run can have stored, so that no one who uses them must ask."""
    if name == "status":
        return bool(np.isin(values, [int(s) for s in Status]).all())
    if name in ("image_size", "input_size"):
        return bool((values >= 0).all() and (values.prod(axis=1, dtype=np.float64) <= _MOST_PIXELS).all())
    if name == "view":
        return bool((np.isnan(values) | (abs(values) <= _MOST_PIXELS)).all())
    return True


def survey(path: Path) -> None:
    """Read everything that a file holds, in every way it may be read later. Raises StoreError where it is refused.

    Values that fail their checksum are no reason to refuse the others.
    """
    with MapFile(path, examined=True) as file:
        for name in (*TEXTS, *NUMBERS):
            with contextlib.suppress(StoreError):
                file._column(name)
        for i in range(len(file)):
            with contextlib.suppress(StoreError):
                file.chunk(i)
            file.attribution.whole(i)


def check_present(path: Path) -> None:
    """Raises StoreError where there is no such file, or where its first bytes already tell that it is none of ours."""
    try:
        if not path.is_file():
            raise StoreError("no such file", where=str(path))
        with path.open("rb") as file:
            start = file.read(len(_SIGNATURE))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise StoreError(f"cannot be read: {getattr(error, 'strerror', error)}", where=str(path)) from None
    if start != _SIGNATURE:
        raise StoreError("is no HDF5 file" if start else "is empty", where=str(path), fix=_RERUN)


def _opened(path: Path) -> h5py.File:
    """Raises StoreError that says what is wrong with a file that is no readable HDF5."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error)
        reasons = {
            "truncated": "is truncated",
            "already open for": "was left open by a program that crashed",
            "unable to lock": "is locked by another program (if its disk knows no locks: HDF5_USE_FILE_LOCKING=FALSE)",
        }
        reason = next((said for mark, said in reasons.items() if mark in text), "is damaged")
        raise StoreError(reason, where=str(path), fix=_RERUN) from None
    except Exception as error:  # damaged metadata makes HDF5 raise almost anything
        raise StoreError(f"is damaged: {error}", where=str(path), fix=_RERUN) from None
