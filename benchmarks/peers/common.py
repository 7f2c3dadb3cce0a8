"""Networks, pictures, and one comparison of two maps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Explainer, Preprocess
from xai_framework.probe import SharedProbe
from xai_framework.registry import Registry
from xai_framework.rng import NamedRng

SIZE = 64
IDS = ("first", "second")
LAYERS = {
    "resnet18": ("layer4", "layer4.1.bn2", "layer3.0.conv1"),
    "vgg11": ("features.19", "features.18", "features.20"),
    "squeezenet1_1": ("features.12", "classifier.1", "features.3.squeeze"),
    "shapes_vgg": ("features", "features.21", "features.4"),
    "shapes_resnet": ("layer4", "layer4.bn2", "layer1.conv1"),
}
"""First a layer whose output nothing overwrites, then layers whose output the network overwrites in place."""


@dataclass(frozen=True)
class Comparison:
    """One method on one network, ours and a peer's."""

    network: str
    peer: str
    method: str
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor]
    allowed: float = 1e-9
    note: str = ""

    def error(self) -> float:
        """The largest difference as a share of the peer's largest value."""
        ours, theirs = self.ours(), self.theirs()
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
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics that are not the identity
                module.running_mean = 0.1 * torch.randn(module.num_features)
                module.running_var = 0.5 + torch.rand(module.num_features)
    return model.double().eval()


@dataclass(frozen=True)
class Subject:
    """One network with two pictures and their predicted classes."""

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor

    @classmethod
    def of(cls, name: str) -> Subject:
        """Pictures of noise."""
        x = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return cls(name, network(name), x, network(name)(x).argmax(1))

    @property
    def probe(self) -> SharedProbe:
        """A new one: it remembers nothing."""
        return SharedProbe(
            ModuleAdapter(self.model, Preprocess(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.2))), Predicted()
        )

    def ours(self, method: Explainer) -> Callable[[], Tensor]:
        """The method's map, when called."""
        return lambda: method.explain(self.probe, self.inputs, self.targets, NamedRng.of(0, IDS))
