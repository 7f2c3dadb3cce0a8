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
from xai_plugins.methods.excitation_backprop import EXCITATION, ExcitationBackprop
from xai_plugins.methods.lrp import Lrp
from xai_plugins.targets.contrast import Contrast
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import ConfigError, Explainer, NotApplicable, Preprocess, Target, XaiError
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


# what a network may do between its layers


class Between(nn.Module):
    """Something done in front of the first layer, and something behind it."""

    def __init__(self, before: Callable[[Tensor], Tensor], behind: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(300, 4)
        self.before, self.behind = before, behind

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return self.fc(self.behind(self.conv(x).relu(), x).relu().flatten(1))


def same(x: Tensor) -> Tensor:
    return x


def between(behind: Callable[[Tensor, Tensor], Tensor], before: Callable[[Tensor], Tensor] = same) -> nn.Module:
    return seeded(lambda: Between(before, behind))


WRITTEN_TWICE: list[tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = [
    (lambda a, b: torch.add(a, b, alpha=2), lambda a, b: (a + b) + b),
    (lambda a, b: a - 0.3, lambda a, b: a + -0.3),
    (lambda a, b: a.sub_(0.3), lambda a, b: a + -0.3),
    (lambda a, b: 0.3 + a, lambda a, b: torch.add(a, 0.3)),
    (lambda a, b: a - b, lambda a, b: torch.add(a, b, alpha=-1)),
    (lambda a, b: a / 2, lambda a, b: 0.5 * a),
    (lambda a, b: F.hardtanh_(a, 0.0, 6.0), lambda a, b: F.relu6(a)),
]


@pytest.mark.parametrize(("one", "other"), WRITTEN_TWICE)
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus_flat"])
def test_ways_to_write_a_sum_do_not_matter(one: object, other: object, composite: str) -> None:
    method = Lrp(composite=composite)  # type: ignore[arg-type]
    # the stabiliser acts once or twice
    close(explain(method, between(one)), explain(method, between(other)), 2e-5)  # type: ignore[arg-type]


def test_summands_share_what_arrives_by_their_contributions() -> None:
    """R_a = a / (a + 2 b) R, R_b = 2 b / (a + 2 b) R; each conv-free branch hands its part to the input."""
    model = between(lambda a, b: torch.add(b, b.clone(), alpha=2))
    fc = model.fc
    with torch.no_grad():
        summed = 3 * X.flatten(1)
        hidden = summed.clamp(min=0)
        z = hidden @ fc.weight.T + fc.bias
        scores = z.gather(1, TARGETS[:, None])
        expected = hidden * fc.weight[TARGETS] / stab(scores) * scores * summed / stab(summed)
    close(explain(Lrp(composite="epsilon"), model), expected.view_as(X))


def test_preparing_the_input_inside_the_network_moves_no_relevance() -> None:
    inner = between(lambda a, b: a)
    outer = between(lambda a, b: a, lambda x: (x - 0.45) / 0.22)
    for composite in ("epsilon", "epsilon_plus_flat"):
        method = Lrp(composite=composite)  # type: ignore[arg-type]
        close(explain(method, outer), explain(method, inner, (X - 0.45) / 0.22))


def test_box_bounds_are_those_of_the_input_or_refused() -> None:
    with pytest.raises(NotApplicable, match=r"z\^B rule knows the bounds of the input"):
        explain(Lrp(composite="epsilon_gamma_box"), between(lambda a, b: a, lambda x: (x - 0.45) / 0.22))


def test_box_rule_of_a_flattened_input_against_its_sums() -> None:
    """Montavon et al. 2017, equation 6, for a dense first layer."""
    l1, l2 = TWO_LAYERS[1], TWO_LAYERS[3]
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.25, 0.2, 0.2])
    low, high = (v.double().repeat_interleave(100) for v in (-mean / std, (1 - mean) / std))
    found = explain(Lrp(composite="epsilon_gamma_box"), TWO_LAYERS)
    with torch.no_grad():
        for row, (x, t) in enumerate(zip(X.flatten(1), TARGETS, strict=True)):
            hidden = l1(x).clamp(min=0)
            score = l2(hidden)[t]
            middle = hidden * l2.weight[t] / stab(score) * score
            expected = torch.zeros(300, dtype=torch.float64)
            for k in range(7):
                w, b = l1.weight[k], l1.bias[k]
                z = x * w - low * w.clamp(min=0) - high * w.clamp(max=0)
                expected += z / stab(z.sum() + b - b.clamp(min=0) - b.clamp(max=0)) * middle[k]
            close(found[row].flatten(), expected, 1e-6)


@pytest.mark.parametrize("method", [Lrp(), DeepLift()], ids=["lrp", "deeplift"])
def test_what_no_rule_covers_is_refused(method: Explainer) -> None:
    one = torch.ones((), dtype=torch.float64)
    for name, behind in {
        "division by an activation": lambda a, b: torch.div(one, a + 1),
        "two activations": lambda a, b: a * b,
        "running statistics": lambda a, b: F.batch_norm(a, None, None, training=True),
    }.items():
        with pytest.raises(NotApplicable, match=name):
            explain(method, between(behind))


def test_constants_made_by_the_network_are_none_of_a_rules_business() -> None:
    def shifted(a: Tensor, b: Tensor) -> Tensor:
        grid = torch.arange(10, dtype=a.dtype)
        return a + (grid[:, None] * 0.1 + grid * 0.01)

    assert explain(Lrp(), between(shifted)).isfinite().all()


@pytest.mark.parametrize("layer", ["conv1", "bn1", "conv2", "bn2", "input"])
@pytest.mark.parametrize("add", [torch.add, lambda a, b: a - b, lambda a, b: F.avg_pool2d(a, 1) + b + 0.1])
def test_winners_are_a_probability_behind_sums_too(layer: str, add: Callable[[Tensor, Tensor], Tensor]) -> None:
    """A branch that subtracts wins nothing: no place has less than 0, all together at most 1."""
    model = seeded(lambda: Residual(nn.ReLU(), add))
    probe = ask(model)
    raw = (
        probe.gradient(X, TARGETS, EXCITATION)
        if layer == "input"
        else probe.layers(X, TARGETS, (layer,), EXCITATION)[layer][1]
    )
    assert (raw >= 0).all()
    assert (raw.sum((1, 2, 3)) <= 1 + 1e-9).all()
    assert torch.equal(explain(ExcitationBackprop(layer=layer), model), raw.sum(1, keepdim=True))


# where relevance starts


def of(model: nn.Module, target: Target, targets: Tensor, method: Explainer | None = None) -> tuple[Tensor, Tensor]:
    """The map and the score."""
    probe = SharedProbe(ModuleAdapter(model, Preprocess()), target)
    maps = (method or Lrp()).explain(probe, X, targets, NamedRng.of(0, "abc"))
    return maps, probe.score(X, targets)


SCORES = [{"of": "mean_logit"}, {"divide_by": 3.0}, {"scale_logits": "max"}]


@pytest.mark.parametrize("options", SCORES, ids=str)
def test_relevance_of_a_scaled_logit_is_scaled_as_the_score_is(options: dict[str, object]) -> None:
    model = seeded(CONVOLUTIONAL[0])
    plain, logit = of(model, Predicted(), TARGETS)
    maps, score = of(model, Predicted(**options), TARGETS)  # type: ignore[arg-type]
    close(maps, plain * (score / logit).view(-1, 1, 1, 1))


def test_relevance_of_a_contrast_is_the_difference_of_both_classes() -> None:
    model = seeded(CONVOLUTIONAL[0])
    pairs = torch.tensor([[1, 0], [0, 2], [2, 2]])
    (plus, _), (minus, _) = (of(model, Predicted(), pairs[:, i]) for i in (0, 1))
    close(of(model, Contrast(), pairs)[0], plus - minus)
    assert not of(model, Contrast(), pairs)[0][2].any()


@pytest.mark.parametrize("score", ["probability", "log_probability", "cross_entropy"])
def test_a_score_that_is_no_sum_over_outputs_is_refused(score: str) -> None:
    with pytest.raises(NotApplicable, match="rule 'lrp' hands back what every output adds to the score"):
        of(seeded(CONVOLUTIONAL[0]), Predicted(of=score), TARGETS)  # type: ignore[arg-type]
