"""Photograph, map and overlay side by side, with the scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw
from PIL.Image import Image, fromarray, new

from xai_framework.core import Scale, Status, param
from xai_framework.core.colours import colours
from xai_framework.core.sheet import INK, PAPER, font_of, line_height, sheet, text_width
from xai_plugins.renderers._common import Coloured, evidence, without_evidence
from xai_plugins.renderers.overlay import Overlay


@dataclass(frozen=True)
class Panel(Coloured):
    """Photograph, heat map and overlay side by side, above a scale bar with its values: a figure of its own."""

    opacity: float = param(0.6, ge=0.0, le=1.0, doc="of the map's colours in the overlay")

    def render(self, image: Image, attribution: NDArray[Any], scale: Scale, status: Status = Status.ok) -> Image:
        """(C,h,w) -> RGB, three pictures wide; two, and no scale, where there is no evidence."""
        found = evidence(attribution, scale, status)
        photograph = image.convert("RGB")
        if found:
            return sheet([[photograph, without_evidence(image, found)]], ("photograph", "heat map"))
        over = Overlay(self.colormap, self.signed_colormap, self.interpolation, self.opacity)
        pictures = [photograph, self.heat(image.size, attribution, scale), over.render(image, attribution, scale)]
        figure = sheet([pictures], ("photograph", "heat map", "overlay"))
        bar = self._bar(figure.width, scale)
        whole = new("RGB", (figure.width, figure.height + bar.height), PAPER)
        whole.paste(figure, (0, 0))
        whole.paste(bar, (0, figure.height))
        return whole

    def _bar(self, width: int, scale: Scale) -> Image:
        """The colours from one end of the scale to the other, between their values."""
        font = font_of(max(11, min(16, width // 40)))
        ends = f"{scale.low:.3g}", f"{scale.high:.3g}"
        height, margin = line_height(font), 8 + max(text_width(e, font) for e in ends) + 6
        picture = new("RGB", (width, height + 8), PAPER)
        draw = ImageDraw.Draw(picture)
        draw.text((margin - 6, height / 2), ends[0], fill=INK, font=font, anchor="rm")
        draw.text((width - margin + 6, height / 2), ends[1], fill=INK, font=font, anchor="lm")
        if width > 2 * margin:
            values = np.linspace(scale.low, scale.high, width - 2 * margin)[None].repeat(height // 2, 0)
            picture.paste(fromarray(colours(values, scale, self.colormap, self.signed_colormap)), (margin, height // 4))
        return picture
