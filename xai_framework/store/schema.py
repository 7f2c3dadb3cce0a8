"""What a result file holds: one cell's rows, readable by h5py and by xarray with either engine."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xai_framework.core.errors import StoreError
from xai_framework.core.status import Status

SCHEMA = "xai-maps/1"
TEXTS = ("image_id", "content", "target_name", "prediction_name", "label", "reason")
LONGEST_ID = 255


@dataclass(frozen=True)
class Block:
    """n rows of one cell, in order. A row is known by (id, content).

    ``attribution`` (n,C,h,w) float32, NaN where there is no map; ``status`` int8 (core.Status) with its ``reason``;
    ``target`` (-1 unknown) with its name, ``score`` and ``probability``; the backbone's ``prediction``; the true
    ``label`` as text; ``view`` (n,4) x0 y0 x1 y1 of the input in the photograph, ``image_size`` and ``input_size``
    (n,2) height, width.
    """

    ids: tuple[str, ...]
    contents: tuple[str, ...]
    attribution: NDArray[np.float32]
    status: NDArray[np.int8]
    reason: tuple[str, ...]
    target: NDArray[np.int64]
    target_name: tuple[str, ...]
    score: NDArray[np.float32]
    probability: NDArray[np.float32]
    prediction: NDArray[np.int64]
    prediction_name: tuple[str, ...]
    prediction_probability: NDArray[np.float32]
    label: tuple[str, ...]
    view: NDArray[np.float64]
    image_size: NDArray[np.int32]
    input_size: NDArray[np.int32]

    def __post_init__(self) -> None:
        for i in self.ids:
            if len(i.encode()) > LONGEST_ID or "\x00" in i:
                raise StoreError(f"image id {i[:40]!r} is longer than {LONGEST_ID} bytes or holds a NUL character")

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(id, content) of each row."""
        return list(zip(self.ids, self.contents, strict=True))


def canonical(value: object) -> str:
    """One text for equal data: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def cell_id(identity: Mapping[str, Any]) -> str:
    """sha256 of a cell's identity."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()


def file_bytes(
    rows: Mapping[str, Any],
    attribution: NDArray[np.float32] | tuple[list[tuple[int, bytes]], tuple[int, int, int]],
    attributes: Mapping[str, str],
) -> bytes:
    """A whole file, built in memory: a full disk then costs an error, not a broken file.

    ``attribution`` is an array, or raw chunks (filter mask, bytes) with their grid (C,h,w), copied as they are.
    ``rows`` are the other variables by name, texts as lists of str.
    """
    grid = attribution[1] if isinstance(attribution, tuple) else attribution.shape[1:]
    count = len(rows["image_id"])
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", track_order=False) as file:
        file.attrs.update({"Conventions": "CF-1.11", "schema": SCHEMA, **attributes})
        image = _scale(file, "image", np.arange(count, dtype=np.int64), "row")
        channel = _scale(file, "channel", np.arange(grid[0], dtype=np.int32), "channel of the map")
        y, x = (
            _scale(file, n, _centres(grid[k], rows["input_size"], k - 1), "centre in input pixels")
            for n, k in (("y", 1), ("x", 2))
        )
        _scale(file, "corner", np.arange(4, dtype=np.int32), "x0 y0 x1 y1")
        _scale(file, "side", np.arange(2, dtype=np.int32), "height width")
        maps = file.create_dataset(
            "attribution", (count, *grid), "f4", chunks=(1, *grid), fletcher32=True, fillvalue=np.float32(np.nan)
        )
        if isinstance(attribution, tuple):
            for i, (mask, raw) in enumerate(attribution[0]):
                maps.id.write_direct_chunk((i, 0, 0, 0), raw, mask)
        else:
            maps[...] = attribution
        for axis, scale in enumerate((image, channel, y, x)):
            maps.dims[axis].attach_scale(scale)
        maps.attrs.update({"long_name": "raw signed attribution on the method's own grid"})
        for name, values in rows.items():
            _variable(file, name, values)
    return buffer.getvalue()


def _scale(file: h5py.File, name: str, values: NDArray[Any], text: str) -> h5py.Dataset:
    data = file.create_dataset(name, data=values)
    data.make_scale(name)
    data.attrs["long_name"] = text
    return data


def _centres(count: int, sizes: NDArray[np.int32], axis: int) -> NDArray[np.float64]:
    """Cell centres in input pixels; plain numbers where inputs differ in size or are unknown."""
    known = {int(s) for s in np.asarray(sizes).reshape(-1, 2)[:, axis] if s > 0}
    side = known.pop() if len(known) == 1 else count
    return (np.arange(count) + 0.5) * side / count


def _variable(file: h5py.File, name: str, values: Any) -> None:  # noqa: ANN401 - texts or an array
    if name in TEXTS:
        encoded = [v.encode() for v in values]
        width = max([1, *map(len, encoded)])
        kind = h5py.string_dtype("utf-8", width)
        data = np.array(encoded, dtype=f"S{width}").astype(kind)
        made = file.create_dataset(name, data=data, dtype=kind, chunks=data.shape, fletcher32=True)
    else:
        made = file.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)
    made.dims[0].attach_scale(file["image"])
    if made.ndim == 2:
        made.dims[1].attach_scale(file["corner" if made.shape[1] == 4 else "side"])
    if name == "status":
        made.attrs["flag_values"] = np.array([int(s) for s in Status], dtype=np.int8)
        made.attrs["flag_meanings"] = " ".join(s.name for s in Status)


def variables(block: Block) -> dict[str, Any]:
    """All variables of a block but the maps, by their names in the file."""
    names = {"ids": "image_id", "contents": "content"}
    found = {names.get(k, k): getattr(block, k) for k in Block.__dataclass_fields__ if k != "attribution"}
    return {k: list(v) if k in TEXTS else v for k, v in found.items()}
