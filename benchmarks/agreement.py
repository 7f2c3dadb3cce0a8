"""How closely our maps agree with captum's, in float64, on the same networks: ``python -m benchmarks.agreement``.

Networks: ResNet-18, VGG-11 and SqueezeNet 1.1 with random weights, and the two embedded ones with their trained
weights. The figure is max |ours - captum's| / max |captum's| over a batch of two pictures.
"""

from __future__ import annotations

import argparse
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest import mock

import captum
import captum.attr as peer
import torch
import torchvision
from torch import Tensor, nn
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.methods.gradient import Gradient
from xai_plugins.methods.occlusion import Occlusion
from xai_plugins.methods.smoothgrad import SmoothGrad
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Explainer, Preprocess
from xai_framework.probe import SharedProbe
from xai_framework.registry import Registry
from xai_framework.rng import NamedRng

SIZE, SAMPLES, SIGMA = 64, 6, 0.2
IDS = ("first", "second")
LAYERS = {
    "resnet18": ("layer4", "layer4.1.bn2", "layer3.0.conv1"),
    "vgg11": ("features.18", "features.19", "features.20"),
    "squeezenet1_1": ("features.12", "classifier.1", "features.3.squeeze"),
    "shapes_vgg": ("features", "features.21", "features.4"),
    "shapes_resnet": ("layer4", "layer4.bn2", "layer1.conv1"),
}
"""Block outputs, and layers whose output the network overwrites in place."""


@dataclass(frozen=True)
class Comparison:
    """One method on one network, ours and captum's."""

    network: str
    method: str
    ours: Callable[[], Tensor]
    captum: Callable[[], Tensor]

    def error(self) -> float:
        """The largest difference as a share of captum's largest value."""
        ours, theirs = self.ours(), self.captum()
        if ours.shape != theirs.shape or not theirs.any():
            raise ValueError(f"{self.network}, {self.method}: {tuple(ours.shape)} against {tuple(theirs.shape)}")
        return float((ours - theirs).abs().max() / theirs.abs().max())


@functools.cache
def network(name: str) -> nn.Module:
    """The network in float64 and eval mode; in-place operations as published."""
    if name.startswith("shapes_"):
        return Registry().load("backbone", name)().load().double().eval()  # type: ignore[attr-defined, no-any-return]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=10)
        if name == "vgg11":  # the published head alone would take 1 GB
            model.classifier = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(512 * 49, 10))
    return model.double().eval()


def comparisons(name: str) -> Iterator[Comparison]:
    """Every method that captum has too, on one network."""
    model = network(name)
    x = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    probe = SharedProbe(ModuleAdapter(model, Preprocess()), Predicted())
    targets = probe.outputs(x).argmax(1)

    def ours(method: Explainer) -> Callable[[], Tensor]:
        return lambda: method.explain(probe, x, targets, NamedRng.of(0, IDS))

    def noisy(kind: str) -> Tensor:
        tunnel = peer.NoiseTunnel(peer.Saliency(model))
        with mock.patch("torch.normal", _our_noise):  # the same copies, so that the statistics can be compared
            return tunnel.attribute(
                x, target=targets, nt_type=kind, nt_samples=SAMPLES, stdevs=SIGMA, abs=False
            ).detach()

    yield Comparison(
        name, "gradient", ours(Gradient()), lambda: peer.Saliency(model).attribute(x, target=targets, abs=False)
    )
    for layer in LAYERS[name]:
        cam = peer.LayerGradCam(model, model.get_submodule(layer))
        yield Comparison(
            name,
            f"gradcam {layer}",
            ours(GradCam(layer=layer)),
            lambda cam=cam: cam.attribute(x, target=targets, relu_attributions=True).detach(),  # type: ignore[misc]
        )
    for window, stride in ((16, 16), (24, 20), (20, 9)):
        yield Comparison(
            name,
            f"occlusion {window}/{stride}",
            ours(Occlusion(window=window, stride=stride)),
            functools.partial(_captums_occlusion, model, x, targets, window, stride),
        )
    for kind, statistic in (("smoothgrad", "mean"), ("smoothgrad_sq", "square"), ("vargrad", "variance")):
        method = SmoothGrad(samples=SAMPLES, sigma=SIGMA, noise="absolute", statistic=statistic)  # type: ignore[arg-type]
        yield Comparison(name, f"smoothgrad {statistic}", ours(method), functools.partial(noisy, kind))


def _captums_occlusion(model: nn.Module, x: Tensor, targets: Tensor, window: int, stride: int) -> Tensor:
    """(B,1,H,W); captum rounds its sums to float32 at the end, which is left out here."""
    with mock.patch.object(Tensor, "float", Tensor.double):
        maps = peer.Occlusion(model).attribute(
            x, target=targets, sliding_window_shapes=(3, window, window), strides=(3, stride, stride)
        )
    return maps[:, :1]


def _our_noise(_mean: Tensor | float, std: Tensor) -> Tensor:
    """What captum would draw, in its layout: each picture's copies in a row."""
    rng = NamedRng.of(0, IDS).shared("noise").repeat(SAMPLES)
    return rng.normal(std.shape).to(std) * std


def main() -> None:
    """Print one line a comparison and the largest error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("networks", nargs="*", default=list(LAYERS), help=f"any of {', '.join(LAYERS)}")
    warnings.filterwarnings("ignore", module="captum")
    worst = 0.0
    print(f"against captum {captum.__version__} in float64, {SIZE} x {SIZE} pixels, relative to the largest value")
    for name in parser.parse_args().networks:
        for comparison in comparisons(name):
            error = comparison.error()
            worst = max(worst, error)
            print(f"{name:15} {comparison.method:30} {error:.1e}", flush=True)
    print(f"largest: {worst:.1e}")


if __name__ == "__main__":
    main()
