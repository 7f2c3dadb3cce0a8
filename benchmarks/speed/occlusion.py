"""Occlusion with windows of 32 pixels, every 8 pixels: 625 windows a picture."""

from __future__ import annotations

from benchmarks.networks import REAL
from benchmarks.speed import peers
from benchmarks.speed.row import Options
from benchmarks.speed.work import Work

GOALS = {"vgg16": (8.0, 35.0), "squeezenet1_1": (6.0, 14.0), "resnet50": (3.0, 10.0), "alexnet": (3.5, 15.0)}
TIMED = {"vgg16": 32, "resnet50": 32, "alexnet": 28, "squeezenet1_1": 24}
"""Every how many pixels captum's windows stand when they are timed, at most their own size: fewer on slow networks."""


def works(options: Options) -> list[Work]:
    """On four architectures, and on a trained one."""
    names = ["squeezenet1_1"] if options.quick else [*GOALS, REAL]
    return [_work(name, options) for name in names]


def _work(name: str, options: Options) -> Work:
    exact, fast = GOALS.get(name.split(",")[0], (None, None)) if name != REAL else (None, None)
    goals = {} if exact is None or fast is None else {("captum", "float32"): exact, ("captum", "fast"): fast}
    timed = options.pick(TIMED[name.split(",")[0]], 8)
    return Work(
        "occlusion 32 px, stride 8",
        name,
        1,
        {"occlusion": {"name": "occlusion", "window": 32, "stride": 8}},
        {"occlusion": {"name": "occlusion", "window": 32, "stride": options.pick(48, 8), "output": "grid"}},
        {peers.CAPTUM: lambda s: [peers.occlusion(s, options, 32, 8, timed), peers.choosing(s, options)]},
        goals,
    )
