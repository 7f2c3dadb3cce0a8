"""Score-CAM: a forward pass for each channel of a layer."""

from __future__ import annotations

from benchmarks.networks import LAYERS
from benchmarks.speed import peers
from benchmarks.speed.row import Options
from benchmarks.speed.subject import Subject
from benchmarks.speed.work import Work

NETWORK = "squeezenet1_1"


def works(options: Options) -> list[Work]:
    """512 channels; against both libraries."""
    config = {"name": "scorecam", "layer": [LAYERS[NETWORK]]}
    return [
        Work(
            "Score-CAM",
            NETWORK,
            2,
            {"scorecam": config},
            {"scorecam": {**config, "layer": ["features.3.squeeze"]}},  # 16 channels are enough for the numbers
            {library: lambda s, of=library: _parts(s, options, of) for library in (peers.GRAD_CAM, peers.TORCHCAM)},  # type: ignore[misc]
            {(library, "float32"): 1.5 for library in (peers.GRAD_CAM, peers.TORCHCAM)},
        )
    ]


def _parts(subject: Subject, options: Options, library: str) -> list[peers.Part]:
    return [peers.score_cam(subject, options, library), peers.choosing(subject, options)]
