"""Where good is, in words; some metrics only say how much there is."""

from __future__ import annotations

from xai_framework.store import StoredValues


def is_judged(stored: StoredValues) -> bool:
    """Whether more or less speaks for a method: not of the heat on a watermark, which says something of the network."""
    return stored.file.attributes.get("better") != "neither"


def direction(higher_is_better: bool, judged: bool = True) -> str:
    """``higher is better``; ``neither is better`` where values are not judged."""
    return f"{better(higher_is_better, judged)} is better"


def better(higher_is_better: bool, judged: bool = True) -> str:
    """``higher``, ``lower`` or ``neither``."""
    return ("higher" if higher_is_better else "lower") if judged else "neither"
