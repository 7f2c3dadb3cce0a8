"""Every method that captum has too."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from unittest import mock

import captum
import captum.attr as peer
import torch
from torch import Tensor, nn
from xai_plugins.methods.deconvnet import Deconvnet
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.methods.gradient import Gradient
from xai_plugins.methods.guided_backprop import GuidedBackprop
from xai_plugins.methods.input_x_gradient import InputXGradient
from xai_plugins.methods.integrated_gradients import IntegratedGradients
from xai_plugins.methods.occlusion import Occlusion
from xai_plugins.methods.smoothgrad import SmoothGrad

from benchmarks.peers.common import IDS, LAYERS, Comparison, Subject
from xai_framework.rng import NamedRng

SAMPLES, SIGMA = 6, 0.2
SUMS = {
    "gausslegendre": "gauss_legendre",
    "riemann_middle": "midpoint",
    "riemann_left": "left",
    "riemann_right": "right",
}


def comparisons(name: str) -> Iterator[Comparison]:
    """On one network."""
    subject = Subject.of(name)
    model, x, targets = subject.model, subject.inputs, subject.targets
    compare = functools.partial(Comparison, name, f"captum {captum.__version__}")

    def noisy(kind: str) -> Tensor:
        tunnel = peer.NoiseTunnel(peer.Saliency(model))
        with mock.patch("torch.normal", _our_noise):  # the same copies, so that the statistics can be compared
            return tunnel.attribute(
                x, target=targets, nt_type=kind, nt_samples=SAMPLES, stdevs=SIGMA, abs=False
            ).detach()

    yield compare(
        "gradient", subject.ours(Gradient()), lambda: peer.Saliency(model).attribute(x, target=targets, abs=False)
    )
    yield compare(
        "input_x_gradient",
        subject.ours(InputXGradient()),
        lambda: peer.InputXGradient(model).attribute(x, target=targets).detach(),
    )
    for theirs, ours in SUMS.items():
        yield compare(
            f"integrated_gradients {ours}",
            subject.ours(IntegratedGradients(steps=9, sum=ours)),  # type: ignore[arg-type]
            functools.partial(_captums_integral, model, x, targets, theirs),
            note="captum's rounding of weights to float32 left out",
        )
    # on a network that calls F.relu captum returns the plain gradient
    rectified = any(isinstance(m, nn.ReLU) for m in model.modules())
    for method, cls in (
        ((GuidedBackprop(), peer.GuidedBackprop), (Deconvnet(), peer.Deconvolution)) if rectified else ()
    ):
        yield compare(
            type(method).__name__.lower().replace("guided", "guided_"),
            subject.ours(method),
            lambda cls=cls: cls(_plain(model)).attribute(x, target=targets).detach(),  # type: ignore[misc]
            note="captum on a copy whose ReLUs do not work in place",
        )
    for layer in LAYERS[name]:
        cam = peer.LayerGradCam(model, model.get_submodule(layer))
        yield compare(
            f"gradcam {layer}",
            subject.ours(GradCam(layer=(layer,))),
            lambda cam=cam: cam.attribute(x, target=targets, relu_attributions=True).detach(),  # type: ignore[misc]
        )
    for window, stride in ((16, 16), (24, 20), (20, 9)):
        yield compare(
            f"occlusion {window}/{stride}",
            subject.ours(Occlusion(window=window, stride=stride)),
            functools.partial(_captums_occlusion, model, x, targets, window, stride),
            note="captum's last rounding to float32 left out",
        )
    for kind, statistic in (("smoothgrad", "mean"), ("smoothgrad_sq", "square"), ("vargrad", "variance")):
        method = SmoothGrad(samples=SAMPLES, sigma=SIGMA, noise="absolute", statistic=statistic)  # type: ignore[arg-type]
        yield compare(
            f"smoothgrad {statistic}",
            subject.ours(method),
            functools.partial(noisy, kind),
            note="captum given our noise",
        )


def _plain(model: nn.Module) -> nn.Module:
    """A copy whose rectifiers do not work in place: captum's module hooks cannot stand it."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return twin


def _captums_integral(model: nn.Module, x: Tensor, targets: Tensor, how: str) -> Tensor:
    """(B,C,H,W)."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(Tensor, "float", Tensor.double):
            maps = peer.IntegratedGradients(model).attribute(x, target=targets, n_steps=9, method=how)
    finally:
        torch.set_default_dtype(usual)
    return maps.detach()


def _captums_occlusion(model: nn.Module, x: Tensor, targets: Tensor, window: int, stride: int) -> Tensor:
    """(B,1,H,W)."""
    with mock.patch.object(Tensor, "float", Tensor.double):
        maps = peer.Occlusion(model).attribute(
            x, target=targets, sliding_window_shapes=(3, window, window), strides=(3, stride, stride)
        )
    return maps[:, :1]


def _our_noise(_mean: Tensor | float, std: Tensor) -> Tensor:
    """What captum would draw, in its layout: each picture's copies in a row."""
    rng = NamedRng.of(0, IDS).shared("noise").repeat(SAMPLES)
    return rng.normal(std.shape).to(std) * std
