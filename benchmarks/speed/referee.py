"""Right maps to compare with: plain loops in float64 on the network as it was built, which share nothing with us.

What is drawn at random, or weighs many scores, is compared with our own maps in float64 instead.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks.speed.ours import MethodConfig, Ours
from benchmarks.speed.subject import Subject

PLAIN = "plain float64"
SAME = "ours in float64"
Maps = NDArray[np.floating]


def right(subject: Subject, methods: Mapping[str, MethodConfig]) -> dict[str, tuple[Maps, str]]:
    """Label -> maps of all the subject's pictures, and where they are from."""
    model = copy.deepcopy(subject.model).double()
    found: dict[str, tuple[Maps, str]] = {}
    for label, config in methods.items():
        maps = _plain(subject, model, config)
        if maps is not None:
            found[label] = maps.numpy(), PLAIN
    rest = {label: config for label, config in methods.items() if label not in found}
    if rest:
        ours = Ours(subject.model, subject.pictures, rest, "float64")
        ours()
        found |= {label: (ours.maps(label), SAME) for label in rest}
    return found


def _plain(subject: Subject, model: nn.Module, config: MethodConfig) -> Tensor | None:
    x, targets = subject.inputs.double(), subject.targets
    if config["name"] in ("gradient", "input_x_gradient"):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(_scores(model(leaf), targets).sum(), leaf)
        return gradient if config["name"] == "gradient" else gradient * x
    if config["name"] == "gradcam":
        return _grad_cam(model, config["layer"][0], x, targets)
    if config["name"] == "occlusion" and config.get("output") == "grid":
        return _occlusion(model, x, targets, config["window"], config["stride"])
    return None


def _scores(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.gather(1, targets[:, None])[:, 0]


def _grad_cam(model: nn.Module, layer: str, x: Tensor, targets: Tensor) -> Tensor:
    """Signed: where nothing speaks for the class, the cut map is 0 and has no relative error."""
    seen: list[Tensor] = []
    with model.get_submodule(layer).register_forward_hook(lambda _m, _i, output: seen.append(output)):
        outputs = model(x.clone().requires_grad_())
    (gradient,) = torch.autograd.grad(_scores(outputs, targets).sum(), seen)
    return (gradient.mean((2, 3), keepdim=True) * seen[0]).sum(1, keepdim=True).detach()


@torch.no_grad()
def _occlusion(model: nn.Module, x: Tensor, targets: Tensor, window: int, stride: int) -> Tensor:
    side = 1 + -((window - x.shape[-1]) // stride)
    clean = _scores(model(x), targets)
    drops = x.new_zeros(len(x), 1, side, side)
    for i in range(side):
        for j in range(side):
            copies = x.clone()
            copies[:, :, i * stride : i * stride + window, j * stride : j * stride + window] = 0
            drops[:, 0, i, j] = clean - _scores(model(copies), targets)
    return drops


def difference(maps: Maps, truth: Maps) -> tuple[float, float]:
    """The largest relative L2 difference of all pictures, and the smallest rank correlation."""
    errors, ranks = [], []
    for ours, theirs in zip(maps, truth, strict=True):
        errors.append(float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)))
        ranks.append(float(spearmanr(ours.ravel(), theirs.ravel()).statistic))
    return max(errors), min(ranks)
