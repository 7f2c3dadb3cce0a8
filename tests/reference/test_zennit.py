"""Relevance propagation against zennit's composites, in float64, on networks that work in place.

zennit keeps the eps of a batch norm after merging it, so that a factor 1/sqrt(1 + eps) remains; it is set to 0 on
zennit's copy. Its rules are hooks on modules, so that copy's rectifiers do not work in place either. It folds batch
norms where it is told which networks they are in, by a canonizer.
"""

from __future__ import annotations

import copy
import functools

import pytest
import torch
import torchvision
from torch import Tensor, nn
from xai_plugins.methods.lrp import Lrp
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Preprocess
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng

composites = pytest.importorskip("zennit.composites")
rules = pytest.importorskip("zennit.rules")
types = pytest.importorskip("zennit.types")
canonizers = pytest.importorskip("zennit.torchvision")

CANONIZER = {
    "vgg11": canonizers.VGGCanonizer,
    "vgg11_bn": canonizers.VGGCanonizer,
    "resnet18": canonizers.ResNetCanonizer,
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGETS = torch.tensor([3, 7])


@functools.cache
def network(arch: str) -> nn.Module:
    """Random weights, statistics that are not the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # the heads of VGG alone would take 1 GB
        with torch.device("meta"):
            model: nn.Module = torchvision.models.get_model(arch, weights=None, num_classes=10)
        if arch.startswith("vgg"):
            model.classifier = nn.Sequential(nn.Linear(512 * 49, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 10))
        model.to_empty(device="cpu")
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias, 0, 0.1)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.2)
                nn.init.normal_(module.bias, 0, 0.2)
                module.running_mean = 0.1 * torch.randn(module.num_features)
                module.running_var = 0.5 + torch.rand(module.num_features)
    return model.double().eval().requires_grad_(False)


def zennits(arch: str, composite: str) -> Tensor:
    model = copy.deepcopy(network(arch)).requires_grad_()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    mean, std = (torch.tensor(v, dtype=X.dtype).view(1, 3, 1, 1) for v in (MEAN, STD))
    chosen = {"canonizers": [CANONIZER[arch]()]}
    weighted = (types.Convolution, types.Linear)
    theirs = {
        "epsilon": lambda: composites.LayerMapComposite(
            [(weighted, rules.Epsilon()), *composites.layer_map_base()], **chosen
        ),
        "epsilon_plus_flat": lambda: composites.EpsilonPlusFlat(**chosen),
        "epsilon_gamma_box": lambda: composites.EpsilonGammaBox(
            low=(-mean / std).expand_as(X), high=((1 - mean) / std).expand_as(X), **chosen
        ),
    }[composite]()
    x = X.clone().requires_grad_()
    with theirs.context(model) as modified:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
        outputs = modified(x)
        start = nn.functional.one_hot(TARGETS, 10) * outputs.detach()
        (relevance,) = torch.autograd.grad(outputs, x, start)
    return relevance


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus_flat", "epsilon_gamma_box"])
@pytest.mark.parametrize("arch", CANONIZER)
@pytest.mark.filterwarnings("ignore")
def test_relevance_equals_zennits(arch: str, composite: str) -> None:
    probe = SharedProbe(ModuleAdapter(network(arch), Preprocess(mean=MEAN, std=STD)), Predicted())
    method = Lrp(composite=composite)  # type: ignore[arg-type]
    found = method.explain(probe, X, TARGETS, NamedRng.of(0, "ab"))
    expected = zennits(arch, composite)
    error = (found - expected).abs().max() / expected.abs().max()
    print(f"{arch} {composite}: {error:.1e}")
    assert expected.any()
    assert error <= 1e-9
