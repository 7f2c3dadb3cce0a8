"""Grad-CAM alone: a forward pass, and a few layers back."""

from __future__ import annotations

from benchmarks.networks import LAYERS
from benchmarks.speed import peers
from benchmarks.speed.row import Options
from benchmarks.speed.work import Work

NETWORK = "resnet50"


def works(options: Options) -> list[Work]:
    """Against both libraries, each as it comes and with the network frozen by hand up to the layer."""
    config = {"name": "gradcam", "layer": [LAYERS[NETWORK]]}
    by_hand = "frozen up to the layer by hand"
    return [
        Work(
            "Grad-CAM alone",
            NETWORK,
            options.pick(16, 4),
            {"gradcam": config},
            {"gradcam": {**config, "relu": False}},
            {
                peers.GRAD_CAM: lambda s: [peers.cam(s, options, peers.GRAD_CAM, "GradCAM")],
                peers.TORCHCAM: lambda s: [peers.cam(s, options, peers.TORCHCAM, "GradCAM")],
                f"{peers.GRAD_CAM}, {by_hand}": lambda s: [peers.cam(s, options, peers.GRAD_CAM, "GradCAM", True)],
                f"{peers.TORCHCAM}, {by_hand}": lambda s: [peers.cam(s, options, peers.TORCHCAM, "GradCAM", True)],
            },
            {(peers.GRAD_CAM, "float32"): 4.0, (peers.TORCHCAM, "float32"): 1.3},
            backwards=False,
            note="the limit is forward passes alone",
        )
    ]
