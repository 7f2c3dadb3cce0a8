"""Networks and pictures for timings: torchvision's architectures with random weights, and a real SqueezeNet."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import nn

from xai_framework.core import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYERS = {"resnet50": "layer4", "vgg16": "features.29", "alexnet": "features.11", "squeezenet1_1": "features.12"}
"""Where class activation maps are taken: the deepest grid."""
REAL = "squeezenet1_1, real weights"
Array = NDArray[np.float32]


class AbsentError(Exception):
    """Something that a row needs is not on this machine; the row is left out with this reason."""


def architecture(name: str) -> str:
    """Torchvision's name."""
    return name.split(",")[0]


def preprocess(size: int) -> Preprocess:
    """From a picture of that very size to the input."""
    return Preprocess(crop=(size, size), mean=MEAN, std=STD)


def pictures(n: int, size: int, seed: int = 0) -> list[Array]:
    """(size,size,3) in [0,1] with the 1/f spectrum of photographs: on white noise a network's scores hardly differ."""
    rng = np.random.default_rng(seed)
    f = np.fft.fftfreq(size)
    radius = np.sqrt(f[:, None] ** 2 + f[None] ** 2)
    radius[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.standard_normal((n, 3, size, size))) / radius**1.2
    drawn = np.fft.ifft2(spectrum).real
    low, high = drawn.min((-1, -2), keepdims=True), drawn.max((-1, -2), keepdims=True)
    return [np.ascontiguousarray(p.transpose(1, 2, 0), dtype=np.float32) for p in (drawn - low) / (high - low)]


def inputs_of(arrays: list[Array], size: int) -> torch.Tensor:
    """(n,3,size,size), normalised."""
    planes = torch.from_numpy(np.stack([a.transpose(2, 0, 1) for a in arrays]))
    return preprocess(size).normalise(planes).contiguous()


def network(name: str, size: int = 224) -> nn.Module:
    """As it is built, in eval mode, without parameter gradients.

    Random weights: batch-norm statistics are those of pictures, and plain networks keep their variance from layer to
    layer, so that scores depend on the picture as they do in a trained network. Raises AbsentError.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = torchvision.models.get_model(architecture(name), weights=None)
        if name == REAL:
            model.load_state_dict({k: v.float() for k, v in _real_weights().items()})
        elif not any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
            _keep_variance(model)
    _calibrate(model, size)
    return model.eval().requires_grad_(False)


def real_data() -> Path:
    """The folder with real weights."""
    return Path(os.environ.get("XAI_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def _real_weights() -> dict[str, torch.Tensor]:
    path = real_data() / "weights" / "squeezenet1_1_imagenet_fp16.pt"
    if not path.is_file():
        raise AbsentError("no real SqueezeNet weights; XAI_REAL_DATA names their folder")
    weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _keep_variance(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _calibrate(model: nn.Module, size: int) -> None:
    """Batch-norm statistics of a few pictures."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return
    model.train()
    for norm in norms:
        norm.momentum = None  # the plain average over batches
    with torch.no_grad():
        model(inputs_of(pictures(8, size, seed=100), size))
