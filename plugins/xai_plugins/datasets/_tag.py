"""Paints the tag: a small square of one colour, in a corner of a picture of shapes or somewhere inside it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xai_plugins.datasets._drawing import Drawn, stream

VERSION = 1
"""Raised whenever the same name gets another tag."""

COLOUR = (255, 0, 255)
SIDE = 10 / 96
"""Of the picture's side; so the tag covers 1.1 % of it."""

_MARGIN = 3 / 96
_TRIES = 200

Place = Literal["corner", "inside"]


def tagged(drawn: Drawn, name: str, place: Place) -> tuple[Drawn, NDArray[np.bool_]]:
    """The picture of this name with a tag, and the tag's mask (size,size).

    The tag lies over everything, so its mask is exact; it is put where it covers no shape if there is such a place
    (one of the four corners, one of 200 drawn places inside), and shapes lose the pixels that it covers.
    """
    size = len(drawn.pixels)
    side = round(SIDE * size)
    objects = np.any(drawn.masks, axis=0)
    places = _places(name, size, side, place)
    y, x = next((p for p in places if not _around(objects, *p, side).any()), places[0])
    mask = np.zeros((size, size), np.bool_)
    mask[y : y + side, x : x + side] = True
    pixels = drawn.pixels.copy()
    pixels[mask] = COLOUR
    return Drawn(pixels, drawn.labels, tuple(m & ~mask for m in drawn.masks)), mask


def _around(objects: NDArray[np.bool_], y: int, x: int, side: int) -> NDArray[np.bool_]:
    """The tag's pixels and two more on every side, since shapes tint a pixel beyond their masks."""
    return objects[max(0, y - 2) : y + side + 2, max(0, x - 2) : x + side + 2]


def _places(name: str, size: int, side: int, place: Place) -> list[tuple[int, int]]:
    """Upper left corners (y, x) where the tag may stand, in a drawn order."""
    rng = stream(f"{name}/{VERSION}", f"tag {place}")
    if place == "corner":
        near, far = round(_MARGIN * size), size - round(_MARGIN * size) - side
        corners = [(near, near), (near, far), (far, near), (far, far)]
        return [corners[i] for i in rng.permutation(4)]
    # at least its own side away from where it stands in a corner
    low, high = round(_MARGIN * size) + 2 * side, size - round(_MARGIN * size) - 3 * side
    return [(int(y), int(x)) for y, x in rng.integers(low, high + 1, (_TRIES, 2))]
