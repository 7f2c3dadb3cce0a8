"""The rows of one cell in memory, and the columns they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.errors import StoreError
from xai_framework.core.status import Status

Key = tuple[str, str]
"""(image id, content hash): what a row is known by."""

Columns = Mapping[str, Any]
"""What a file holds beside the maps: column name -> list of str, or an array with one entry a row."""

LONGEST_ID = 255
"""Bytes of UTF-8."""

TEXTS = {
    "image_id": "ids",
    "content": "contents",
    "target_name": "target_name",
    "prediction_name": "prediction_name",
    "label": "label",
    "reason": "reason",
}
"""Text columns: name in the file -> field of :class:`Block`."""

NUMBERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "status": ("<i1", ()),
    "target": ("<i8", ()),
    "score": ("<f4", ()),
    "probability": ("<f4", ()),
    "prediction": ("<i8", ()),
    "prediction_probability": ("<f4", ()),
    "view": ("<f8", (4,)),
    "image_size": ("<i4", (2,)),
    "input_size": ("<i4", (2,)),
}
"""Number columns: name, here and in the file -> (dtype, shape of one entry)."""


@dataclass(frozen=True)
class Block:
    """n rows of one cell, in order. A row is known by (id, content).

    ``attribution`` (n,C,h,w) float32, NaN where there is no map; ``status`` int8 (core.Status) with its ``reason``;
    ``target`` (-1 unknown) with its name, ``score`` and ``probability``; the backbone's ``prediction``; the true
    ``label`` as text, empty where unknown; ``view`` (n,4) x0 y0 x1 y1 of the input in the photograph, ``image_size``
    and ``input_size`` (n,2) height, width. Raises StoreError where these disagree.
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
        n = len(self.ids)
        if self.attribution.ndim != 4 or self.attribution.dtype != np.float32 or 0 in self.attribution.shape:
            got = f"{self.attribution.dtype} {self.attribution.shape}"
            raise StoreError(f"maps must be float32 (rows, channels, height, width), got {got}")
        lengths = {name: len(getattr(self, field)) for name, field in TEXTS.items()}
        lengths["attribution"] = len(self.attribution)
        if wrong := {k: v for k, v in lengths.items() if v != n}:
            raise StoreError(f"{n} ids, but {wrong}")
        for name, (kind, shape) in NUMBERS.items():
            values = getattr(self, name)
            if values.shape != (n, *shape) or values.dtype != np.dtype(kind):
                raise StoreError(f"{name} must be {kind} {(n, *shape)}, got {values.dtype} {values.shape}")
        if unknown := set(self.status.tolist()) - {int(s) for s in Status}:
            raise StoreError(f"no such status: {sorted(unknown)}")
        for text in (*self.ids, *self.contents):
            _check_identifier(text)
        if len(set(self.keys)) != n:
            raise StoreError("an image stands twice in one block")

    @property
    def keys(self) -> list[Key]:
        """(id, content) of each row."""
        return list(zip(self.ids, self.contents, strict=True))

    @property
    def columns(self) -> dict[str, Any]:
        """All columns but the maps, by their names in the file."""
        texts = {name: list(getattr(self, field)) for name, field in TEXTS.items()}
        return texts | {name: getattr(self, name) for name in NUMBERS}


def _check_identifier(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise StoreError(f"image id {text[:60]!r} is not valid Unicode", fix="rename the file") from None
    if size > LONGEST_ID or "\x00" in text:
        raise StoreError(
            f"image id {text[:60]!r} is longer than {LONGEST_ID} bytes or holds a NUL character",
            fix="give a shorter id",
        )


def failed_block(keys: Sequence[Key], reason: str) -> Block:
    """Rows of which nothing is known but that they failed, and why."""
    n = len(keys)
    columns: dict[str, Any] = {field: ("",) * n for field in TEXTS.values()}
    for name, (kind, shape) in NUMBERS.items():
        columns[name] = np.full((n, *shape), np.nan if "f" in kind else 0, kind)
    columns |= {"status": np.full(n, Status.failed, np.int8), "reason": (reason,) * n}
    columns |= {"target": np.full(n, -1), "prediction": np.full(n, -1)}
    columns |= {"ids": tuple(k[0] for k in keys), "contents": tuple(k[1] for k in keys)}
    return Block(attribution=np.full((n, 1, 1, 1), np.nan, np.float32), **columns)
