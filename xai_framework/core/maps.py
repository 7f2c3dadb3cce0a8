"""Operations on raw maps that methods, metrics and pictures share: channel reduction, resizing, status."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.status import Status

if TYPE_CHECKING:
    from torch import Tensor

Reduction = Literal["none", "max_abs", "sum_abs", "l2", "sum"]
"""How channels become one: none keeps them (signed), sum is signed, the others are magnitudes."""

Interpolation = Literal["bilinear", "nearest"]

ArrayT = TypeVar("ArrayT", "Tensor", NDArray[Any])


def reduce_channels(maps: ArrayT, how: Reduction) -> ArrayT:
    """(B,C,h,w) -> (B,1,h,w), or unchanged for ``none``. Works on tensors and arrays."""
    if how == "none":
        return maps
    reduced: Any
    if how == "sum":
        reduced = maps.sum(1)
    elif how == "sum_abs":
        reduced = abs(maps).sum(1)
    elif how == "l2":
        reduced = (maps * maps).sum(1) ** 0.5
    else:
        reduced = abs(maps).max(1) if isinstance(maps, np.ndarray) else abs(maps).amax(1)
    return cast("ArrayT", reduced[:, None])


@lru_cache(maxsize=256)
def resize_weights(source: int, size: int, how: Interpolation = "bilinear") -> NDArray[np.float64]:
    """(size, source) matrix that resamples one axis, pixel centres at half integers (``align_corners=False``).

    When the axis shrinks, the triangle widens (antialiasing), so that no value is skipped.
    """
    centre = (np.arange(size) + 0.5) * source / size - 0.5
    if how == "nearest":
        matrix = np.zeros((size, source))
        matrix[np.arange(size), np.clip(np.rint(centre).astype(int), 0, source - 1)] = 1.0
        return matrix
    support = max(1.0, source / size)
    distance = np.abs(np.arange(source)[None] - np.clip(centre, 0, source - 1)[:, None]) / support
    matrix = np.clip(1.0 - distance, 0.0, None)
    normalised: NDArray[np.float64] = matrix / matrix.sum(1, keepdims=True)
    return normalised


def resize(maps: ArrayT, size: tuple[int, int], how: Interpolation = "bilinear") -> ArrayT:
    """(..., h, w) -> (..., *size), the one definition of up- and downsampling for metrics and pictures."""
    rows, columns = (resize_weights(maps.shape[axis], size[axis], how) for axis in (-2, -1))
    if isinstance(maps, np.ndarray):
        resized: NDArray[Any] = rows.astype(maps.dtype) @ maps @ columns.T.astype(maps.dtype)
        return resized.astype(maps.dtype)
    return maps.new_tensor(rows) @ maps @ maps.new_tensor(columns).T


def status_of(attribution: NDArray[Any]) -> Status:
    """The status of one finished map (C,h,w): ok, zero or nonfinite."""
    if not np.isfinite(attribution).all():
        return Status.nonfinite
    return Status.ok if attribution.any() else Status.zero
