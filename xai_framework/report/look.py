"""How a page looks when it is opened, and what the reader may choose instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np

from xai_framework.core.colours import DIVERGING, SEQUENTIAL, colour_table
from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.core.maps import Interpolation
from xai_framework.core.renderer import Renderer

PageScale = Literal["map", "saturated", "method"]
"""Colours run to each map's largest value, to its 99th percentile, or to the largest value of its method."""

SCALES = {
    "map": "own for each map",
    "saturated": "own, top 1 % cut",
    "method": "shared by method",
}
OFFERED = ("inferno", "viridis", "cividis", "hot", "gray", "jet")
"""Colour maps the reader may switch to, besides the one asked for."""


@dataclass(frozen=True)
class PageStyle:
    """How a page looks when it is opened; most of it can be changed on the page. Raises ConfigError."""

    colormap: str = SEQUENTIAL
    signed_colormap: str = DIVERGING
    interpolation: Interpolation = "bilinear"
    opacity: float = 0.6
    grey: bool = True
    scale: PageScale = "map"
    side: int = 320
    quality: int = 80

    def __post_init__(self) -> None:
        colour_table(self.colormap, "colormap")
        colour_table(self.signed_colormap, "signed_colormap")
        if self.scale not in get_args(PageScale):
            raise ConfigError(
                f"{self.scale!r} is not a valid value", where="scale", fix=did_you_mean(self.scale, get_args(PageScale))
            )

    @classmethod
    def like(cls, renderer: Renderer, scale: PageScale = "map") -> Self:
        """The colours, opacity and interpolation of a renderer, as far as it has them."""
        names = ("colormap", "signed_colormap", "interpolation", "opacity", "grey")
        return cls(scale=scale, **{n: getattr(renderer, n) for n in names if hasattr(renderer, n)})

    @property
    def filters(self) -> dict[str, dict[str, Any]]:
        """SVG filters from grey to colour: the sequential maps by name, and the diverging one as ``""``."""
        names = list(dict.fromkeys((self.colormap, *OFFERED)))
        offered = {n: _colour_filter(f"s{i}", n, half=True) for i, n in enumerate(names)}
        return offered | {"": _colour_filter("d", self.signed_colormap, half=False)}


def _colour_filter(name: str, colormap: str, *, half: bool) -> dict[str, Any]:
    """``half``: the map starts at middle grey, which stands for 0."""
    grey = np.linspace(0, 1, 129)
    at = np.clip(2 * grey - 1, 0, 1) if half else grey
    table = colour_table(colormap)[np.rint(at * 255).astype(int)] / 255
    return {"id": name, "tables": [" ".join(f"{v:.3g}" for v in channel) for channel in table.T]}
