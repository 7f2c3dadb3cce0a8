"""How a result file is laid out: one cell's rows, readable by h5py and by xarray with either of its engines."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import h5py
import numpy as np
from numpy.typing import NDArray

from xai_framework.core.errors import StoreError
from xai_framework.core.status import Status
from xai_framework.store.block import NUMBERS, TEXTS, Columns

SCHEMA = "xai-maps/1"
RESERVED = ("Conventions", "schema", "cell", "identity")
"""Attributes that the store sets itself."""

HALVED = "rows_in_a_pass"
"""Attribute of files whose maps were computed in smaller passes because memory ran out: the same up to rounding."""

Grid = tuple[int, int, int]
"""(C,h,w) of one map."""

# Chunks of the columns: large enough that a shard is one chunk, small enough to be read in parts.
_ROWS = 1 << 16

# netCDF's mark of a dimension that has no coordinates.
_BARE = "This is a netCDF dimension but not a netCDF variable. {:9d}"


def create(
    file: h5py.File,
    columns: Columns,
    grid: Grid,
    attributes: Mapping[str, str],
    widths: Mapping[str, int] | None = None,
) -> h5py.Dataset:
    """Write everything but the maps into an empty file; returns the ``attribution`` variable to be filled.

    ``widths`` are the bytes that each column of texts takes, by default those of its longest. The same arguments give
    the same bytes: nothing in the file tells when or where it was made.
    """
    rows = len(columns["image_id"])
    file.attrs.update({"Conventions": "CF-1.11", "schema": SCHEMA})
    file.attrs.update({k: _plain(v) for k, v in attributes.items()})
    _coordinates(file, columns["input_size"], rows, grid)
    # Not compressed: float maps shrink by a seventh at a tenth of the speed.
    maps = file.create_dataset(
        "attribution", (rows, *grid), "<f4", chunks=(1, *grid), fletcher32=True, fillvalue=np.float32(np.nan)
    )
    _attach(file, maps, "image", "channel", "y", "x")
    maps.attrs["long_name"] = "attribution: raw, signed, on the method's own grid"
    maps.attrs["coordinates"] = "image_id label target_name status"
    maps.attrs["ancillary_variables"] = "status reason"
    for name in TEXTS:
        _text(file, name, columns[name], (widths or {}).get(name) or width_of(columns[name]))
    for name, (kind, shape) in NUMBERS.items():
        chunk = (min(rows, _ROWS), *shape)
        made = file.create_dataset(name, data=np.asarray(columns[name], kind), chunks=chunk, fletcher32=True)
        _attach(file, made, "image", *{(): (), (4,): ("corner",), (2,): ("side",)}[shape])
    file["status"].attrs["flag_values"] = np.array([int(s) for s in Status], dtype="<i1")
    file["status"].attrs["flag_meanings"] = " ".join(s.name for s in Status)
    file["view"].attrs["long_name"] = "x0 y0 x1 y1 of the model's input, in photograph pixels"
    for name in ("image_size", "input_size"):
        file[name].attrs["long_name"] = f"height and width of the {'photograph' if name == 'image_size' else 'input'}"
    return maps


def blank_chunk(grid: Grid) -> tuple[int, bytes]:
    """(filter mask, stored bytes) of a map that is all NaN."""
    with h5py.File(io.BytesIO(), "w") as file:
        maps = file.create_dataset("attribution", (1, *grid), "<f4", chunks=(1, *grid), fletcher32=True)
        maps[...] = np.nan
        file.flush()
        mask, raw = maps.id.read_direct_chunk((0, 0, 0, 0))
        return mask, bytes(raw)


def decode_texts(values: NDArray[np.bytes_]) -> list[str]:
    """Texts of a column of characters (n, bytes)."""
    joined = np.ascontiguousarray(values).view(f"S{values.shape[1]}")[:, 0]
    return [v.decode("utf-8", "replace") for v in joined.tolist()]


def check_attributes(attributes: Mapping[str, str]) -> None:
    """Raises StoreError for attributes that the store sets itself, or that are no text."""
    for name, value in attributes.items():
        if name in RESERVED or not isinstance(value, str):
            raise StoreError(f"attribute {name!r} is {'reserved' if name in RESERVED else 'no text'}")


def input_side(input_size: NDArray[np.int32]) -> tuple[int, int] | None:
    """Height and width of the model's input, where all rows that have one agree."""
    known = {(int(h), int(w)) for h, w in input_size.tolist() if h > 0 and w > 0}
    return known.pop() if len(known) == 1 else None


def width_of(values: Sequence[str]) -> int:
    """Bytes of the longest text, and at least one."""
    return max(len(_plain(v).encode()) for v in values) or 1


def characters(values: Sequence[str], width: int) -> NDArray[np.bytes_]:
    """Texts as characters (n, width)."""
    encoded = [_plain(v).encode() for v in values]
    return np.array(encoded, dtype=f"S{width}").view("S1").reshape(len(values), width)


def _coordinates(file: h5py.File, input_size: NDArray[np.int32], rows: int, grid: Grid) -> None:
    size = input_side(input_size)
    file["image"], file["image"].attrs["long_name"] = np.arange(rows, dtype="<i8"), "row"
    file["channel"], file["channel"].attrs["long_name"] = np.arange(grid[0], dtype="<i4"), "channel of the map"
    for name, count, side in (("y", grid[1], size and size[0]), ("x", grid[2], size and size[1])):
        # where inputs differ in size, or none could be read, there is only the map's own grid to count in
        file[name] = (np.arange(count, dtype="<f8") + 0.5) * ((side or count) / count)
        file[name].attrs["long_name"] = f"centre in {'input pixels' if side else 'map cells'}"
        file[name].attrs["axis"] = name.upper()
    for name in ("image", "channel", "y", "x"):
        file[name].make_scale(name)
    _bare_dimension(file, "corner", 4)
    _bare_dimension(file, "side", 2)


def _bare_dimension(file: h5py.File, name: str, size: int) -> None:
    if name not in file:
        file.create_dataset(name, (size,), ">f4").make_scale(_BARE.format(size))


def _text(file: h5py.File, name: str, values: list[str], width: int) -> None:
    """Characters (n, bytes): the one form of text that has a checksum and that both engines of xarray read as str."""
    chunk = (min(len(values), _ROWS), width)
    made = file.create_dataset(name, data=characters(values, width), chunks=chunk, fletcher32=True)
    made.attrs["_Encoding"] = "utf-8"
    _bare_dimension(file, f"string{width}", width)
    _attach(file, made, "image", f"string{width}")


def _attach(file: h5py.File, made: h5py.Dataset, *names: str) -> None:
    for axis, name in enumerate(names):
        made.dims[axis].attach_scale(file[name])


def _plain(text: str) -> str:
    """HDF5 texts end at a NUL, and a lone surrogate is no Unicode: both become a question mark."""
    return text.replace("\x00", "?").encode("utf-8", "replace").decode()
