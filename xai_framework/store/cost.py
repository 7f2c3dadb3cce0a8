"""What a cell took to compute, from the notes that lie beside its shards. Never part of a result."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COST = "cost"
"""The note's key: a mapping of ``images``, ``forward``, ``backward`` (passes, in images) and ``seconds``."""

_MOST_SHARDS = 200
"""Notes that are read of one cell: shards are named by checksums, so the first by name are as good as any."""

_LARGEST_NOTE = 1 << 16
_KEYS = ("images", "forward", "backward", "seconds")


@dataclass(frozen=True)
class Cost:
    """Per image: model passes, and seconds as measured. A pass that several methods shared counts for each of them, as
    if it had been alone; ``images`` is how many images it is the mean of.
    """

    images: int
    forward: float
    backward: float
    seconds: float

    @property
    def passes(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward


def cost_of(shards: Path) -> Cost | None:
    """Of a cell's folder of shards; None where nothing was noted."""
    notes = sorted(shards.glob("*.json"))[:_MOST_SHARDS]
    total = summed(notes)
    images = total.get("images", 0)
    if not images:
        return None
    return Cost(int(images), total["forward"] / images, total["backward"] / images, total["seconds"] / images)


def summed(notes: Iterable[Path]) -> dict[str, float]:
    """The sum of all notes that are sound; empty where none is."""
    found = [note for path in notes if (note := _note(path)) is not None]
    return {key: sum(note[key] for note in found) for key in _KEYS} if found else {}


def _note(path: Path) -> Mapping[str, Any] | None:
    try:
        if path.stat().st_size > _LARGEST_NOTE:
            return None
        note = json.loads(path.read_text("utf-8"))[COST]
        sound = all(type(note[key]) in (int, float) and math.isfinite(note[key]) and note[key] >= 0 for key in _KEYS)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return note if sound else None
