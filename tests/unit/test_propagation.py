"""Relevance propagation and DeepLIFT against formulas written out, conservation, and captum."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import DeepLift as Captums
from torch import Tensor, nn
from xai_plugins.methods.deeplift import DeepLift
from xai_plugins.methods.deeplift_shap import DeepLiftShap
from xai_plugins.methods.excitation_backprop import ExcitationBackprop
from xai_plugins.methods.lrp import Lrp
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import ConfigError, Explainer, NotApplicable, Preprocess, XaiError
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng

X = torch.randn(3, 3, 10, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([1, 0, 2])
EPSILON = 1e-6


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = 0.1 * torch.randn(module.num_features)
                module.running_var = 0.5 + torch.rand(module.num_features)
                nn.init.normal_(module.weight, 1, 0.2)
        return model.double().eval()


def ask(model: nn.Module) -> SharedProbe:
    return SharedProbe(ModuleAdapter(model, Preprocess(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.2))), Predicted())


def explain(method: Explainer, model: nn.Module, x: Tensor = X) -> Tensor:
    return method.explain(ask(model), x, TARGETS[: len(x)], NamedRng.of(0, "abc"[: len(x)]))


def score(model: nn.Module, x: Tensor = X) -> Tensor:
    return model(x).detach().gather(1, TARGETS[: len(x), None])[:, 0]


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def stab(z: Tensor) -> Tensor:
    return z + EPSILON * torch.where(z < 0, -1.0, 1.0)


TWO_LAYERS = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(300, 7), nn.ReLU(), nn.Linear(7, 4)))


def two_layers(first: str, second: str) -> Tensor:
    """Montavon et al. 2019, table 10.1, for two dense layers, neuron by neuron."""

    def share(a: Tensor, w: Tensor, b: Tensor, r: Tensor, rule: str) -> Tensor:
        out = torch.zeros_like(a)
        for k in range(len(w)):
            z = a * w[k]
            if rule == "epsilon":
                out += z / stab(z.sum() + b[k]) * r[k]
            elif rule == "zplus":
                out += z.clamp(min=0) / stab(z.clamp(min=0).sum() + b[k].clamp(min=0)) * r[k]
            elif rule == "flat":
                out += r[k] / stab(torch.tensor(float(len(a)), dtype=a.dtype))
        return out

    maps = []
    l1, l2 = TWO_LAYERS[1], TWO_LAYERS[3]
    with torch.no_grad():
        for x, t in zip(X.flatten(1), TARGETS, strict=True):
            hidden = l1(x).clamp(min=0)
            relevance = torch.zeros(4, dtype=x.dtype)
            relevance[t] = l2(hidden)[t]
            middle = share(hidden, l2.weight, l2.bias, relevance, second)
            maps.append(share(x, l1.weight, l1.bias, middle, first).view(3, 10, 10))
    return torch.stack(maps)


@pytest.mark.parametrize(
    ("composite", "first", "second"),
    [
        ("epsilon", "epsilon", "epsilon"),
        ("zplus", "zplus", "zplus"),
        ("epsilon_plus_flat", "flat", "epsilon"),
        ("epsilon_plus", "zplus", "epsilon"),
    ],
)
def test_lrp_of_two_layers_against_the_sums_of_the_paper(composite: str, first: str, second: str) -> None:
    close(explain(Lrp(composite=composite), TWO_LAYERS), two_layers(first, second))  # type: ignore[arg-type]


def test_special_cases_of_rules() -> None:
    for same in (Lrp(composite="gamma", gamma=0.0), Lrp(composite="epsilon")):
        close(explain(same, TWO_LAYERS), two_layers("epsilon", "epsilon"))
    close(explain(Lrp(composite="alpha_beta", alpha=1.0, beta=0.0), TWO_LAYERS), two_layers("zplus", "zplus"))
    with pytest.raises(ConfigError, match=r"alpha 2.0 - beta 0.5 is not 1.*use beta=1"):
        Lrp(beta=0.5)


def without_bias(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(getattr(module, "bias", None), Tensor):
            module.bias.data.zero_()
    return model


CONVOLUTIONAL = [
    lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU6(),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8, 4),
    ),
    lambda: torchvision.models.squeezenet1_1(num_classes=4),
]


@pytest.mark.parametrize("make", CONVOLUTIONAL)
@pytest.mark.parametrize("composite", ["epsilon", "zplus", "epsilon_plus_flat", "epsilon_gamma_box"])
def test_relevance_is_conserved_without_biases(make: Callable[[], nn.Module], composite: str) -> None:
    model = without_bias(seeded(make))
    x = X if isinstance(model, nn.Sequential) else torch.randn(2, 3, 64, 64, dtype=torch.float64)
    sums = explain(Lrp(composite=composite), model, x).sum((1, 2, 3))  # type: ignore[arg-type]
    # zero scores (all rectified away) hand nothing back
    assert ((sums - score(model, x)).abs() <= 2e-3 * score(model, x).abs() + 1e-9).all()


class Residual(nn.Module):
    """Skip connection, concatenation, batch norm behind and before a convolution."""

    def __init__(self, relu: Callable[[Tensor], Tensor], add: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.fc = nn.Linear(12, 4)
        self.relu, self.add = relu, add

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out = self.add(self.bn2(self.conv2(x)), x)
        out = torch.cat([self.relu(out), x], 1)
        return self.fc(out.mean((2, 3)))


def iadd(a: Tensor, b: Tensor) -> Tensor:
    a += b
    return a


def statement(x: Tensor) -> Tensor:
    x.relu_()
    return x


@pytest.mark.parametrize("composite", ["epsilon_plus_flat", "epsilon_gamma_box", "epsilon"])
@pytest.mark.parametrize("relu", [F.relu, torch.relu_, statement, nn.ReLU(inplace=True)])
@pytest.mark.parametrize("add", [iadd, torch.add, lambda a, b: a.add_(b)])
def test_ways_to_write_a_network_do_not_matter(composite: str, relu: object, add: object) -> None:
    plain = seeded(lambda: Residual(nn.ReLU(), lambda a, b: a + b))
    other = seeded(lambda: Residual(relu, add))  # type: ignore[arg-type]
    method = Lrp(composite=composite)  # type: ignore[arg-type]
    close(explain(method, other), explain(method, plain), 1e-12)
    close(explain(DeepLift(), other), explain(DeepLift(), plain), 1e-12)


def test_batch_norm_is_folded_into_the_layer_in_front_of_it_alone() -> None:
    """conv, bn equals one folded convolution; relu in place between them is none of the layer's business."""
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(320, 4))
    )
    conv, bn = model[0], model[1]
    folded = seeded(lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 4)))
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    folded[0].weight.data = conv.weight * scale[:, None, None, None]
    folded[0].bias.data = (conv.bias - bn.running_mean) * scale + bn.bias
    folded[3].load_state_dict(model[4].state_dict())
    for composite in ("epsilon", "zplus", "epsilon_gamma_box"):
        close(explain(Lrp(composite=composite), model), explain(Lrp(composite=composite), folded), 1e-11)  # type: ignore[arg-type]
    twins = [
        seeded(
            lambda r=r: nn.Sequential(  # type: ignore[misc]
                nn.Conv2d(3, 5, 3), nn.ReLU(inplace=r), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(320, 4)
            )
        )
        for r in (True, False)
    ]
    close(explain(Lrp(composite="epsilon"), twins[0]), explain(Lrp(composite="epsilon"), twins[1]), 1e-12)


@pytest.mark.parametrize(
    "arch", ["alexnet", "densenet121", "googlenet", "mobilenet_v2", "mnasnet0_5", "shufflenet_v2_x0_5"]
)
def test_families_of_torchvision_have_a_rule_for_every_function(arch: str) -> None:
    options = {"init_weights": False, "aux_logits": False} if arch == "googlenet" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.get_model(arch, weights=None, num_classes=4, **options).eval()
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for method in (Lrp(), Lrp(composite="epsilon_gamma_box"), ExcitationBackprop()):
        maps = method.explain(ask(model), x, TARGETS[:1], NamedRng.of(0, "a"))
        assert maps.isfinite().all()
        assert maps.any()


@pytest.mark.parametrize(
    ("arch", "named"),
    [
        ("mobilenet_v3_small", "hardswish"),
        ("efficientnet_b0", "silu"),
        ("regnet_y_400mf", "sigmoid"),
        ("convnext_tiny", "layer_norm"),
    ],
)
def test_families_without_a_rule_are_refused_by_name(arch: str, named: str) -> None:
    model = torchvision.models.get_model(arch, weights=None, num_classes=4).eval()
    x = torch.randn(1, 3, 64, 64)
    for method in (Lrp(), ExcitationBackprop()):
        with pytest.raises((XaiError, NotApplicable), match=named):
            method.explain(ask(model), x, TARGETS[:1], NamedRng.of(0, "a"))


def test_gates_are_refused_by_deeplift_too() -> None:
    model = torchvision.models.efficientnet_b0(weights=None, num_classes=4).eval()
    with pytest.raises(NotApplicable, match="mul of two activations"):
        DeepLift().explain(ask(model), torch.randn(1, 3, 64, 64), TARGETS[:1], NamedRng.of(0, "a"))


# DeepLIFT


def lift(act: Callable[[], nn.Module], pool: nn.Module) -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            act(),
            pool,
            nn.Conv2d(6, 8, 3, padding=1),
            act(),
            nn.Flatten(),
            nn.Linear(200, 4),
        ).requires_grad_(False)
    )


POOLS = [nn.AvgPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(3, stride=2, padding=1)]
ACTS = [nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.Softplus]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("baseline", ["mean", "white", "blur"])
def test_deeplift_is_complete(act: Callable[[], nn.Module], pool: nn.Module, baseline: str) -> None:
    model = lift(act, pool)
    start = ask(model).baseline(baseline, X)  # type: ignore[arg-type]
    sums = explain(DeepLift(baseline=baseline), model).sum((1, 2, 3))  # type: ignore[arg-type]
    close(sums, score(model) - score(model, start), 1e-11)


@pytest.mark.filterwarnings("ignore")
def test_deeplift_equals_captums_where_captum_is_complete() -> None:
    for act in (nn.ReLU, nn.Sigmoid, nn.Tanh):
        model = lift(act, nn.AvgPool2d(2))
        expected = Captums(model).attribute(X, torch.zeros_like(X), target=TARGETS).detach()
        close(explain(DeepLift(), model), expected)


def test_deeplift_of_two_layers_against_the_rescale_rule() -> None:
    l1, l2 = TWO_LAYERS[1], TWO_LAYERS[3]
    with torch.no_grad():
        x, b = X.flatten(1), torch.zeros(300, dtype=torch.float64)
        z, z0 = l1(x), l1(b)
        m = (z.clamp(min=0) - z0.clamp(min=0)) / (z - z0)
        expected = ((l2.weight[TARGETS] * m) @ l1.weight) * (x - b)
    close(explain(DeepLift(), TWO_LAYERS), expected.view_as(X))


def test_an_input_equal_to_its_baseline_contributes_nothing() -> None:
    model = lift(nn.ReLU, POOLS[1])
    assert not explain(DeepLift(), model, torch.zeros_like(X)).any()
    half = X.clone()
    half[:, :, :5] = 0
    assert not explain(DeepLift(), model, half)[:, :, :5].any()


def test_deeplift_shap_sums_to_the_mean_difference() -> None:
    model = lift(nn.ReLU, POOLS[1])
    rng = NamedRng.of(0, "abc")
    starts = [ask(model).baseline("noise", X, rng.repeat(1, k)) for k in range(5)]
    expected = score(model) - torch.stack([score(model, s) for s in starts]).mean(0)
    close(explain(DeepLiftShap(samples=5), model).sum((1, 2, 3)), expected, 1e-10)


# excitation backprop


def test_excitation_backprop_of_two_layers_against_equation_5() -> None:
    """P(a_j) = sum_i P(a_j | a_i) P(a_i), P(a_j | a_i) = Z_i a_j w+_ji, on positive inputs."""
    x = X.abs()
    l1, l2 = TWO_LAYERS[1], TWO_LAYERS[3]
    with torch.no_grad():
        hidden = l1(x.flatten(1)).clamp(min=0)
        expected = []
        for b, t in enumerate(TARGETS):
            p = hidden[b] * l2.weight[t].clamp(min=0)
            p = p / p.sum()
            out = torch.zeros(300, dtype=torch.float64)
            for j in range(7):
                share = x[b].flatten() * l1.weight[j].clamp(min=0)
                out += share / share.sum() * p[j]
            expected.append(out.view(3, 10, 10).sum(0, keepdim=True))
    found = explain(ExcitationBackprop(layer="input"), TWO_LAYERS, x)
    close(found, torch.stack(expected), 1e-7)
    close(found.sum((1, 2, 3)), torch.ones(3, dtype=torch.float64), 1e-7)
