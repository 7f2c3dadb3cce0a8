"""One picture of a grid: a photograph, a map over it, or the word for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps
from PIL.Image import Image, blend, fromarray

from xai_framework.core.colours import colours
from xai_framework.core.dataset import Box
from xai_framework.core.maps import resize
from xai_framework.core.renderer import Scale
from xai_framework.figures.look import Look
from xai_framework.figures.paper import Paper


@dataclass(frozen=True, eq=False)
class Place:
    """What stands in one place of the grid: a photograph (without ``values``), a map over it, or a ``word``.

    ``size`` is (height, width) of the picture in pixels, ``group`` says which maps share a scale.
    """

    photograph: Image | None
    size: tuple[int, int]
    values: NDArray[np.float64] | None = None
    word: str = ""
    group: Any = None
    boxes: Sequence[Box] = ()
    mask: NDArray[np.bool_] | None = None


def draw_place(
    paper: Paper, at: tuple[float, float, float, float], place: Place, scale: Scale | None, look: Look
) -> None:
    """Draw a place at (x, y, width, height) mm; a map needs its scale."""
    x, y, width, height = at
    if place.size != (1, 1):
        height = width * place.size[0] / place.size[1]
    photograph = place.photograph.convert("RGB") if place.photograph is not None else None
    if place.word == "no evidence" and photograph is not None:
        pale = blend(ImageOps.grayscale(photograph).convert("RGB"), fromarray(_plain(place.size)), 0.55)
        paper.picture(x, y, width, height, np.asarray(pale))
        paper.word(x, y, width, height, place.word)
        return
    if place.values is None and (place.word or photograph is None):
        paper.hatched(x, y, width, height, place.word or "no photograph")
        return
    axes = paper.picture(x, y, width, height, _pixels(place, photograph, scale, look))
    if look.truth:
        _outline(axes, place)


def _pixels(place: Place, photograph: Image | None, scale: Scale | None, look: Look) -> NDArray[np.uint8]:
    if place.values is None or scale is None:
        assert photograph is not None
        return np.asarray(photograph)
    heat = colours(resize(place.values, place.size), scale, look.colormap, look.signed_colormap)
    if photograph is None:
        return heat
    under = ImageOps.grayscale(photograph).convert("RGB") if look.grey else photograph
    return np.asarray(blend(under, fromarray(heat), look.opacity))


def _outline(axes: Any, place: Place) -> None:  # noqa: ANN401 - matplotlib's
    """The true objects, as lines that are seen on light and on dark."""
    from matplotlib.patches import Rectangle

    for width, colour in ((1.5, "black"), (0.7, "white")):
        for x0, y0, x1, y1 in place.boxes if place.mask is None else ():
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=width))
        if place.mask is not None and place.mask.any() and not place.mask.all():
            rows, columns = place.mask.shape
            padded = np.pad(place.mask.astype(float), 1)
            centres = np.arange(-1, columns + 1) + 0.5, np.arange(-1, rows + 1) + 0.5
            axes.contour(*centres, padded, levels=[0.5], colors=[colour], linewidths=width)
    axes.set_xlim(0, place.size[1])
    axes.set_ylim(place.size[0], 0)


def _plain(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.full((*size, 3), 0xD8, np.uint8)
