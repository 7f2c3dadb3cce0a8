"""Numbers and counts as a page says them."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """Three digits that count, with a true minus sign: ``−0.0123``, ``3.1e−9``, ``0``; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        text = f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
    else:
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def plural(count: int, noun: str) -> str:
    """``1 image``, ``1,204 images``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
