"""RISE with 4,000 masks, which none of the peers has: how near it is to its own forward passes."""

from __future__ import annotations

from benchmarks.speed.row import Options
from benchmarks.speed.work import Work


def works(options: Options) -> list[Work]:
    """One picture."""
    masks = options.pick(4000, 16)
    config = {"name": "rise", "masks": masks}
    return [
        Work(
            f"RISE, {masks:,} masks",
            "squeezenet1_1",
            1,
            {"rise": config},
            {"rise": {**config, "masks": 64}},
            note="no peer has it; goal: at most 1.1 times its own limit",
        )
    ]
