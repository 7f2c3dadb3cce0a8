"""Pictures small enough to live inside a page: WebP data addresses, and masks as lengths of runs."""

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
"""Cells along the longer side of a mask: enough for a thumbnail, a tenth of the bytes."""


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


def mask_runs(mask: NDArray[np.bool_]) -> list[int]:
    """A mask (H,W) as ``[width, height, outside, inside, outside, ...]``: lengths of runs, row after row.

    On a grid of at most ``FINEST`` cells a side; empty for an empty mask.
    """
    inside = np.asarray(mask, dtype=bool)
    width, height = shown_size((inside.shape[1], inside.shape[0]), FINEST)
    if (height, width) != inside.shape:
        inside = resize(inside.astype(np.float64), (height, width), "bilinear") >= 0.5
    flat = inside.ravel()
    if not flat.any():
        return []
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return [width, height, *([0] if flat[0] else []), *runs]


def _address(picture: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
