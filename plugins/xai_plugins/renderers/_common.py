"""What all built-in renderers share: the coloured map, and the pictures of maps that carry no evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from xai_framework.core import ConfigError, Interpolation, Renderer, Scale, Status, flat, param, resize, status_of
from xai_framework.core.colours import DIVERGING, SEQUENTIAL, colour_table, colours
from xai_framework.core.sheet import font_of, line_height, text_width

WORDS = {
    Status.zero: "no evidence",
    Status.nonfinite: "not finite",
    Status.failed: "failed",
    Status.not_applicable: "not applicable",
}


@dataclass(frozen=True)
class Coloured(Renderer):
    """A renderer with colour maps. Values below 0 anywhere on the scale choose the diverging one."""

    colormap: str = param(SEQUENTIAL, doc="for maps of magnitudes: any name of the cmap catalogue, _r reverses it")
    signed_colormap: str = param(DIVERGING, doc="for signed maps: a diverging colour map, its middle is no evidence")
    interpolation: Interpolation = param("bilinear", doc="how a coarse map is enlarged to the picture")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("colormap", "signed_colormap"):
            colour_table(getattr(self, name), f"{type(self).__name__}.{name}")

    def heat(self, size: tuple[int, int], attribution: NDArray[Any], scale: Scale) -> Image.Image:
        """The coloured map at ``size`` (width, height), RGB."""
        values = resize(flat(attribution), (size[1], size[0]), self.interpolation)
        return Image.fromarray(colours(values, scale, self.colormap, self.signed_colormap))


def evidence(attribution: NDArray[Any], scale: Scale, status: Status) -> Status:
    """The status to draw: a map called ok is still looked at, since colours of NaN or of nothing would mislead."""
    if status != Status.ok:
        return status
    if not (np.isfinite(scale.low) and np.isfinite(scale.high)):
        raise ConfigError(f"a scale from {scale.low} to {scale.high} is not finite", where="scale")
    found = status_of(flat(attribution))
    return Status.zero if found == Status.ok and scale.empty else found


def without_evidence(image: Image.Image, status: Status) -> Image.Image:
    """RGB, the size of ``image``: the photograph greyed (nothing found), or hatched (no usable map), with the word."""
    grey = ImageOps.grayscale(image.convert("RGB")).convert("RGB")
    pale = 0.55 if status == Status.zero else 0.8
    picture = Image.blend(grey, Image.new("RGB", image.size, "#d8d8dc"), pale)
    draw = ImageDraw.Draw(picture)
    if status != Status.zero:
        step = max(6, min(image.size) // 14)
        for x in range(-image.height, image.width, step):
            draw.line((x, image.height, x + image.height, 0), fill="#8e8e96", width=max(1, step // 6))
    _caption(draw, image.size, WORDS[status])
    return picture


def _caption(draw: ImageDraw.ImageDraw, size: tuple[int, int], word: str) -> None:
    """The word in the middle on a pale band; left out where the picture is too small for it."""
    width, height = size
    for points in range(max(9, width // 11), 6, -1):
        font = font_of(points)
        if text_width(word, font) <= 0.92 * width and line_height(font) <= height:
            half = line_height(font) * 0.75
            draw.rectangle((0, height / 2 - half, width, height / 2 + half), fill="#f4f4f6")
            draw.text((width / 2, height / 2), word, fill="#1c1c1e", font=font, anchor="mm")
            return
