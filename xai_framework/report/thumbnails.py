"""Pictures small enough to live inside a page: WebP data addresses and outlines as SVG paths."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_framework.core.colours import positions
from xai_framework.core.maps import Interpolation, resize
from xai_framework.core.renderer import Scale

FINEST = 112
"""Cells along the longer side of a mask's outline: enough for a thumbnail, a tenth of the bytes."""


def shown_size(size: tuple[int, int], most: int) -> tuple[int, int]:
    """(width, height) of a picture on the page: no side longer than ``most``, never enlarged."""
    factor = min(1.0, most / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def photograph_address(photograph: Image.Image, size: tuple[int, int], quality: int) -> str:
    """``data:image/webp;base64,...`` of a photograph at ``size`` (width, height)."""
    picture = photograph.convert("RGB")
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return _address(picture, quality)


def map_address(values: NDArray[Any], size: tuple[int, int], how: Interpolation, quality: int) -> str:
    """A finite map (h,w) as a grey picture: black -top, middle grey 0, white top, where top is its largest magnitude.

    Signed or not, every map has this form: the page colours it, and can rescale it about its middle.
    """
    top = float(np.abs(values).max())
    drawn = resize(np.asarray(values, dtype=np.float64), (size[1], size[0]), how)
    grey = np.rint(positions(drawn, Scale(-top, top)) * 255).astype(np.uint8)
    return _address(Image.fromarray(grey), quality)


def outline_path(mask: NDArray[np.bool_], size: tuple[int, int]) -> str:
    """The border of a mask (H,W) as an SVG path in a picture of ``size`` (width, height); empty for an empty mask.

    Straight runs of pixel edges, on a grid of at most ``FINEST`` cells a side.
    """
    inside = np.asarray(mask, dtype=bool)
    coarse = shown_size((inside.shape[1], inside.shape[0]), FINEST)
    if coarse != (inside.shape[1], inside.shape[0]):
        inside = resize(inside.astype(np.float64), (coarse[1], coarse[0])) >= 0.5
    x_step, y_step = size[0] / coarse[0], size[1] / coarse[1]
    padded = np.pad(inside, 1)
    upright = [
        f"M{x * x_step:.4g} {a * y_step:.4g}V{b * y_step:.4g}"
        for x in range(coarse[0] + 1)
        for a, b in _runs(padded[1:-1, x] != padded[1:-1, x + 1])
    ]
    level = [
        f"M{a * x_step:.4g} {y * y_step:.4g}H{b * x_step:.4g}"
        for y in range(coarse[1] + 1)
        for a, b in _runs(padded[y, 1:-1] != padded[y + 1, 1:-1])
    ]
    return "".join(upright + level)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _address(picture: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
