"""Integrated gradients with 50 points on the path."""

from __future__ import annotations

from benchmarks.speed import peers
from benchmarks.speed.row import Options
from benchmarks.speed.work import Work


def works(options: Options) -> list[Work]:
    """Against captum."""
    steps = options.pick(50, 4)
    config = {"name": "integrated_gradients", "steps": steps}
    return [
        Work(
            f"integrated gradients, {steps} steps",
            "resnet50",
            2,
            {"integrated_gradients": config},
            {"integrated_gradients": {**config, "steps": 4}},
            {
                peers.CAPTUM: lambda s: [
                    peers.integrated_gradients(s, options, steps),
                    peers.choosing(s, options),
                ]
            },
            {(peers.CAPTUM, "float32"): 1.3},
        )
    ]
