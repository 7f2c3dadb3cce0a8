"""Colours of raw maps: colour tables by name, and values on a scale as RGB. Shared by renderers and pages."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from cmap import Catalog, Colormap
from numpy.typing import NDArray

from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.core.renderer import Scale

SEQUENTIAL = "inferno"
"""Default for magnitudes: perceptually uniform, monotonic in grey, readable with colour vision deficiencies."""

DIVERGING = "RdBu_r"
"""Default for signed maps: blue against, white nothing, red for; safe for red-green colour vision deficiencies."""


@lru_cache(maxsize=64)
def colour_table(name: str, where: str = "colormap") -> NDArray[np.uint8]:
    """(256,3) RGB of a colour map of the cmap catalogue; ``_r`` after a name reverses it.

    Raises ConfigError naming ``where``, with the nearest names. The table is shared and read-only.
    """
    catalogue = Catalog()
    plain = name.removesuffix("_r")
    try:
        # resolved first: a short name that two collections use would be warned about on every use
        table = np.rint(Colormap(catalogue.resolve(plain)).lut(256)[:, :3] * 255).astype(np.uint8)
    except KeyError as error:
        names = sorted((n for n in catalogue.short_keys() if not n[-1].isdigit()), key=str.lower)
        raise ConfigError(f"no colour map {name!r}", where=where, fix=did_you_mean(plain, names)) from error
    table = np.ascontiguousarray(table[::-1]) if plain != name else table
    table.setflags(write=False)
    return table


def positions(values: NDArray[Any], scale: Scale) -> NDArray[np.float64]:
    """Finite values (h,w) -> where they stand on the colour map, 0..1; beyond the scale they saturate.

    A signed scale has 0 at exactly 0.5 whatever its ends; any other has ``low`` at 0 and ``high`` at 1.
    """
    values = np.asarray(values, dtype=np.float64)
    top = max(abs(scale.low), abs(scale.high))
    low, high = (-top, top) if scale.signed else (scale.low, scale.high)
    if high == low:
        return np.zeros_like(values)
    clipped = np.clip(values, low, high)
    # not (v - low) / (high - low): subtracting would bend 0 off the middle for the smallest scales
    placed: NDArray[np.float64] = clipped / top / 2 + 0.5 if scale.signed else (clipped - low) / (high - low)
    return placed


def colours(
    values: NDArray[Any], scale: Scale, sequential: str = SEQUENTIAL, diverging: str = DIVERGING
) -> NDArray[np.uint8]:
    """Finite values (h,w) -> RGB (h,w,3), by the diverging map where the scale is signed."""
    table = colour_table(diverging if scale.signed else sequential)
    coloured: NDArray[np.uint8] = table[np.rint(positions(values, scale) * 255).astype(np.uint8)]
    return coloured
