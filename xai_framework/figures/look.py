"""How a figure looks: widths, colours, scales. Checked before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from xai_framework.core.colours import DIVERGING, SEQUENTIAL, colour_table
from xai_framework.core.errors import ConfigError, did_you_mean

COLUMN, FULL = 84.0, 174.0
"""Millimetres of one column of a two-column paper, and of both."""

WIDTHS = {"column": COLUMN, "full": FULL}

MapScale = Literal["own", "method", "row", "all"]
"""Which maps share a scale: none, those of one method, those of one image (a row of the figure), all."""

MAP_SCALES: tuple[MapScale, ...] = get_args(MapScale)


@dataclass(frozen=True)
class Look:
    """How maps are drawn. Raises ConfigError.

    ``width`` in millimetres, ``dpi`` of the PNG. Colours run to the ``percentile`` of the magnitudes on a scale; larger
    ones saturate, so that fine-grained maps can be seen. ``opacity`` is the share of the map's colours over its
    photograph, which is ``grey`` so that all colour comes from the map. ``labels=False`` leaves out all text but the
    colour bars', ``truth`` outlines the true objects.
    """

    width: float = FULL
    dpi: int = 300
    scale: MapScale = "own"
    colormap: str = SEQUENTIAL
    signed_colormap: str = DIVERGING
    opacity: float = 0.6
    percentile: float = 99.0
    grey: bool = True
    labels: bool = True
    truth: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.width) and 20 <= self.width <= 1000):
            raise ConfigError(
                f"{self.width:g} mm is no width of a figure",
                where="width",
                fix="give 20 to 1000, 'column' (84) or 'full' (174)",
            )
        if not 50 <= self.dpi <= 2400:
            raise ConfigError(
                f"{self.dpi} dots per inch", where="dpi", fix="give 50 to 2400; papers ask for 300 or 600"
            )
        if not 0 <= self.opacity <= 1:
            raise ConfigError(f"{self.opacity:g} is no share", where="opacity", fix="give 0 (photograph) to 1 (map)")
        if not 50 <= self.percentile <= 100:
            fix = "give 50 to 100; 100 lets nothing saturate"
            raise ConfigError(f"no percentile {self.percentile:g}", where="percentile", fix=fix)
        if self.scale not in MAP_SCALES:
            raise ConfigError(f"no scale {self.scale!r}", where="scale", fix=did_you_mean(self.scale, MAP_SCALES))
        colour_table(self.colormap, "colormap")
        colour_table(self.signed_colormap, "signed_colormap")


def width_of(text: str | float) -> float:
    """Millimetres of ``column``, ``full``, ``120`` or ``120mm``. Raises ConfigError."""
    if isinstance(text, int | float):
        return float(text)
    if text in WIDTHS:
        return WIDTHS[text]
    try:
        return float(text.removesuffix("mm"))
    except ValueError:
        fix = did_you_mean(text, WIDTHS) + ", or millimetres"
        raise ConfigError(f"no width {text!r}", where="width", fix=fix) from None
