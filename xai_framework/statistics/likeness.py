"""How alike two maps of one image are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.maps import resize
from xai_framework.core.renderer import flat

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Likeness:
    """``spearman`` is the rank correlation of the values, ``cosine`` that of the angle between the maps; both are 1 for
    the same map at any scale. ``largest`` is the largest difference as a share of the largest magnitude in either map,
    0 for equal maps. NaN where it is undefined: a map that is the same everywhere has no ranks, one of zeros no angle.
    """

    spearman: float
    cosine: float
    largest: float


SAME = Likeness(1.0, 1.0, 0.0)


def likeness(first: NDArray[Any], second: NDArray[Any]) -> Likeness:
    """Of two finite maps (C,h,w), whatever their channels and grids: channels are summed, the coarser grid enlarged."""
    a, b = on_one_grid(first, second)
    top = max(float(np.abs(a).max()), float(np.abs(b).max()))
    largest = float(np.abs(a - b).max()) / top if top > 0 else 0.0
    return Likeness(spearman(a, b), cosine(a, b), largest)


def on_one_grid(first: NDArray[Any], second: NDArray[Any]) -> tuple[Numbers, Numbers]:
    """Both maps (h,w), float64, on the finer of their grids."""
    a, b = flat(first), flat(second)
    size = (max(a.shape[0], b.shape[0]), max(a.shape[1], b.shape[1]))
    return tuple(m if m.shape == size else resize(m, size) for m in (a, b))  # type: ignore[return-value]


def spearman(first: Numbers, second: Numbers) -> float:
    """Pearson's correlation of the ranks, ties shared; NaN where either has one value only."""
    from scipy import stats

    a, b = (stats.rankdata(m.ravel()) for m in (first, second))
    return cosine(a - a.mean(), b - b.mean())


def cosine(first: Numbers, second: Numbers) -> float:
    """Of the angle between two maps as vectors; NaN where either is zero."""
    a, b = first.ravel(), second.ravel()
    # scaled first: the squares of the smallest maps are zero
    tops = np.abs(a).max(), np.abs(b).max()
    if not (tops[0] > 0 and tops[1] > 0):
        return math.nan
    a, b = a / tops[0], b / tops[1]
    return float(np.clip(a @ b / math.sqrt(float(a @ a) * float(b @ b)), -1.0, 1.0))
