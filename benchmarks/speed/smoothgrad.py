"""SmoothGrad with 50 noisy copies."""

from __future__ import annotations

from benchmarks.speed import peers
from benchmarks.speed.row import Options
from benchmarks.speed.work import Work


def works(options: Options) -> list[Work]:
    """Against captum, a few of whose copies stand for all."""
    samples, timed = options.pick(50, 4), options.pick(8, 2)
    config = {"name": "smoothgrad", "samples": samples}
    return [
        Work(
            f"SmoothGrad N={samples}",
            "resnet50",
            options.pick(8, 2),
            {"smoothgrad": config},
            {"smoothgrad": {**config, "samples": 4}},
            {
                peers.CAPTUM: lambda s: [
                    peers.smoothgrad(s, options, samples, timed),
                    peers.choosing(s, options),
                ]
            },
            {(peers.CAPTUM, "float32"): 1.5, (peers.CAPTUM, "fast"): 4.2},
            note="goal also: at most 1.1 times its own limit",
        )
    ]
