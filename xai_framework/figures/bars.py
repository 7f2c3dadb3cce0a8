"""Colour bars with the raw values at their ends."""

from __future__ import annotations

import numpy as np

from xai_framework.core.colours import colours
from xai_framework.core.renderer import Scale
from xai_framework.figures.look import Look
from xai_framework.figures.paper import SMALL, Paper, line_height, number, text_width

THICK = 1.8
HEIGHT = THICK + 0.5 + line_height(SMALL)
"""Millimetres of a lying bar with its numbers below; one more line says what ends of own scales stand for."""

WIDTH = 12.0
"""Millimetres of a standing bar with its numbers beside."""


def lying(paper: Paper, x: float, y: float, width: float, scale: Scale, look: Look, *, own: bool = False) -> None:
    """A bar from left to right, its ends named below; ``own``: each map has its own scale, and the ends are words."""
    values = np.linspace(scale.low, scale.high, 256)[None]
    paper.picture(x, y, width, THICK, colours(values, scale, look.colormap, look.signed_colormap))
    texts = _words(scale, look) if own else _numbers(scale, look)
    places = [0.0, 0.5, 1.0] if len(texts) == 3 else [0.0, 1.0]
    if sum(text_width(t, SMALL) for t in texts) > width - 1.5 * len(texts):
        texts, places = [texts[0], texts[-1]], [0.0, 1.0]
    sides = ["left", "center", "right"] if len(texts) == 3 else ["left", "right"]
    for text, place, side in zip(texts, places, sides, strict=True):
        paper.text(x + place * width, y + THICK + 0.5, text, fontsize=SMALL, ha=side)


def standing(paper: Paper, x: float, y: float, height: float, scale: Scale, look: Look) -> None:
    """A bar from bottom to top, its numbers to the right."""
    values = np.linspace(scale.high, scale.low, 256)[:, None]
    paper.picture(x, y, THICK, height, colours(values, scale, look.colormap, look.signed_colormap))
    texts = _numbers(scale, look)
    places = {2: [1.0, 0.0], 3: [1.0, 0.5, 0.0]}[len(texts)]
    for text, place in zip(texts, places, strict=True):
        side = {1.0: "bottom", 0.5: "center", 0.0: "top"}[place]
        paper.text(x + THICK + 0.6, y + place * height, text, fontsize=SMALL, va=side)


def _numbers(scale: Scale, look: Look) -> list[str]:
    """What the ends stand for: with a percentile, that value and all beyond it."""
    least, most = ("≤ ", "≥ ") if look.percentile < 100 else ("", "")
    low = [least + number(scale.low)] if scale.signed else []
    return [*low, "0", most + number(scale.high)]


def _words(scale: Scale, look: Look) -> list[str]:
    top = "max" if look.percentile == 100 else f"p{look.percentile:g}"
    return [f"−{top}", "0", top] if scale.signed else ["0", top]


def own_scales(look: Look) -> str:
    """What the ends of own scales are."""
    if look.percentile == 100:
        return "each map on its own scale, up to its largest magnitude (max)"
    return (
        f"each map on its own scale, up to the percentile {look.percentile:g} of its magnitudes (p{look.percentile:g})"
    )
