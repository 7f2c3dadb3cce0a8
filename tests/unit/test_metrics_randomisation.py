"""Metrics that explain again, by other weights, classes or inputs, and completeness: closed forms and slow loops."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xai_plugins.methods.input_x_gradient import InputXGradient
from xai_plugins.methods.integrated_gradients import IntegratedGradients
from xai_plugins.methods.lrp import Lrp
from xai_plugins.methods.smoothgrad import SmoothGrad
from xai_plugins.metrics._random_weights import layers, reinitialise
from xai_plugins.metrics.completeness import Completeness
from xai_plugins.metrics.input_invariance import InputInvariance
from xai_plugins.metrics.parameter_randomisation import ParameterRandomisation
from xai_plugins.metrics.random_logit import RandomLogit

from tests.unit.judging import Maps, judging, measured
from xai_framework.core import Case, Metric
from xai_framework.guard import Guard

CLASSES = 5


def network(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    first = nn.Conv2d(3, 6, 3, **{"padding": 1, **options})
    return nn.Sequential(
        first, nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), Mean(), nn.Linear(8, CLASSES)
    ).eval()


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def linear() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, CLASSES))


def pictures(count: int = 4, size: int = 8) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def part(about: Case, i: int) -> Case:
    """One image alone."""
    rows = slice(i, i + 1)
    return replace(
        about,
        inputs=about.inputs[rows],
        targets=about.targets[rows],
        maps=about.maps[rows],
        classes=about.classes[rows],
        truth=about.truth[rows],
        geometry=about.geometry[rows],
        rng=replace(about.rng, rows=about.rng.rows[rows]),  # type: ignore[type-var]
        explain=lambda probe, x, t: about.explain.args[0].explain(probe, x, t, None),  # type: ignore[attr-defined]
    )


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    stats = pytest.importorskip("scipy.stats")
    return float(stats.spearmanr(one.ravel(), other.ravel()).statistic)


def gradient(model: nn.Module, x: Tensor, target: int) -> np.ndarray:
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(leaf)[:, target].sum(), leaf)
    return found[0].sum(0).abs().double().numpy()


EXPLAINING: tuple[Metric, ...] = (
    ParameterRandomisation(),
    ParameterRandomisation(order="bottom_up", points=2, sign="signed"),
    ParameterRandomisation(order="full"),
    RandomLogit(),
    InputInvariance(),
    Completeness(),
)


@pytest.mark.parametrize("metric", EXPLAINING, ids=str)
def test_the_model_and_chance_are_left_as_they_were(metric: Metric) -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    about = judging(model, pictures())
    guard, state = Guard(model), {k: v.clone() for k, v in model.state_dict().items()}
    model[2].train()  # the user's flag
    flags = [m.training for m in model.modules()]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    values = measured(metric, about)
    assert np.isfinite(values).all()
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == flags
    model.eval()
    guard.check("the metric")
    assert about.adapter.model is model


@pytest.mark.parametrize("metric", EXPLAINING, ids=str)
def test_alone_as_in_a_batch_and_again_the_same(metric: Metric) -> None:
    about = judging(network(), pictures())
    together = measured(metric, about)
    assert together == measured(metric, about)
    assert together == pytest.approx([measured(metric, part(about, i))[0] for i in range(4)], abs=1e-4)
    assert all(metric.range[0] <= value <= metric.range[1] for value in together)


# --- new weights ---------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """Weights that no ``reset_parameters`` reaches, attention, statistics without weights, and an empty module."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 3 + 7)
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm = nn.BatchNorm1d(8, affine=False)
        self.norm.running_mean += 3
        self.nothing = nn.ReLU()


def test_layers_become_new_one_by_one_and_by_seed() -> None:
    model = Odd()
    assert layers(model) == ["", "attention", "attention.out_proj", "norm"]
    states = []
    for order in (layers(model), layers(model)[::-1]):
        twin = copy.deepcopy(model)
        for name in order:
            before = {k: v.clone() for k, v in twin.state_dict().items()}
            reinitialise(twin, name, 0)
            changed = {k for k, v in twin.state_dict().items() if not torch.equal(v, before[k])}
            assert changed
            assert {k.rpartition(".")[0] for k in changed} == {name}
        states.append(twin.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])  # the order does not matter
    assert states[0]["norm.running_mean"].eq(0).all()
    assert abs(float(states[0]["token"].mean()) - 7) < 4
    twin = copy.deepcopy(model)
    reinitialise(twin, "attention", 1)
    assert not torch.equal(twin.attention.in_proj_weight, states[0]["attention.in_proj_weight"])


def test_a_network_built_with_the_seed_does_not_get_its_own_weights() -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        model = nn.Linear(4, 4)
        before = model.weight.clone()
        reinitialise(model, "", seed)
        assert not torch.equal(model.weight, before)


@pytest.mark.parametrize("order", ["top_down", "bottom_up", "full"])
def test_randomisation_by_a_slow_loop(order: Any) -> None:
    model, x = network(), pictures(2)
    about = judging(model, x)
    names = ["0", "2", "3", "6"]
    assert layers(model) == names
    groups = {"top_down": [[n] for n in names[::-1]], "bottom_up": [[n] for n in names], "full": [names]}[order]
    expected = []
    for i in range(2):
        twin, target, rho = copy.deepcopy(model), int(about.classes[i]), []
        first = gradient(model, x[i : i + 1], target)
        for group in groups:
            for name in group:
                reinitialise(twin, name, 5)
            rho.append(spearman(first, gradient(twin, x[i : i + 1], target)))
        expected.append(float(np.mean(rho)))
    assert measured(ParameterRandomisation(order=order, seed=5), about) == pytest.approx(expected, abs=1e-3)


def test_points_are_evenly_spaced_and_end_with_every_layer_new() -> None:
    names = list("abcdefg")
    assert ParameterRandomisation(points=3)._groups(names) == [["g", "f"], ["e", "d", "c"], ["b", "a"]]
    assert ParameterRandomisation(points=9, order="bottom_up")._groups(names) == [[n] for n in names]
    assert ParameterRandomisation(points=9, order="full")._groups(names) == [names]
    # whatever the order, the last point is the same network
    about = judging(network(), pictures())
    one = [measured(ParameterRandomisation(points=1, order=o), about) for o in ("top_down", "bottom_up", "full")]
    assert one[0] == one[1] == one[2]
    assert measured(ParameterRandomisation(order="full", seed=1), about) != one[0]


def test_a_map_of_the_picture_alone_stays() -> None:
    about = judging(network(), pictures(), method=Maps(lambda probe, x, t: x))
    for metric in (ParameterRandomisation(), ParameterRandomisation(order="full", sign="signed"), RandomLogit()):
        assert measured(metric, about) == pytest.approx([1.0] * 4)


def test_networks_that_give_no_map_do_not_count() -> None:
    model, x = network(), pictures(3)

    def make(probe: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        """Original network: the picture; new last layer: its opposite; more new layers: nothing, or no number."""
        maps = inputs.clone()
        if probe.adapter.model is not model:
            maps = -maps
            if not torch.equal(probe.adapter.model[3].weight, model[3].weight):
                maps[0], maps[1, 0, 0, 0] = 0, torch.nan
            maps[2] = 0
        return maps

    about = judging(model, x, method=Maps(make))
    values = measured(ParameterRandomisation(sign="signed"), about)
    assert values[:2] == pytest.approx([-1.0, -1.0])
    assert math.isnan(values[2])
    assert about.reasons == {2: "no re-initialised network gives a map to compare with"}


def test_flat_heat_has_no_ranks() -> None:
    maps = torch.stack([torch.ones(1, 8, 8), torch.randn(1, 8, 8)])
    for metric in (ParameterRandomisation(), RandomLogit()):
        about = judging(network(), pictures(2), maps)
        assert np.isfinite(measured(metric, about)).tolist() == [False, True]
        assert about.reasons == {0: "the heat is the same everywhere: it has no ranks to compare"}


def test_a_method_that_draws_draws_the_same_again() -> None:
    about = judging(linear(), pictures(), method=SmoothGrad(samples=3, inner=InputXGradient()))
    same = replace(about, classes=about.classes)
    assert measured(InputInvariance(shift=0.0), same) == pytest.approx([0.0] * 4, abs=1e-5)


# --- another class -------------------------------------------------------------------------------------------------


def test_another_class_is_drawn_by_seed_and_compared() -> None:
    x = pictures(1).repeat(60, 1, 1, 1)
    model = linear()
    rows = torch.arange(60) % CLASSES
    about = judging(model, x, targets=rows)
    values = measured(RandomLogit(), about)
    weights = model[1].weight.detach().view(CLASSES, 3, 64).sum(1).abs().double().numpy()
    met = set()
    for own, value in zip(rows.tolist(), values, strict=True):
        others = [d for d in range(CLASSES) if d != own]
        nearest = min(others, key=lambda d: abs(spearman(weights[own], weights[d]) - value))
        assert value == pytest.approx(spearman(weights[own], weights[nearest]), abs=1e-4)
        met.add((own, nearest))
    assert len(met) > 14  # of 20 pairs
    assert values == measured(RandomLogit(), judging(model, x, targets=rows))
    assert values != measured(RandomLogit(), judging(model, x, targets=rows, seed=1))


def test_no_other_class() -> None:
    x = pictures(2)
    about = judging(nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), x, torch.rand(2, 1, 8, 8))
    assert np.isnan(measured(RandomLogit(), about)).all()
    assert about.reasons == dict.fromkeys((0, 1), "there is one class only")
    about = judging(linear(), x, torch.rand(2, 1, 8, 8), targets=torch.randn(2, CLASSES))
    assert np.isnan(measured(RandomLogit(), about)).all()
    assert about.reasons == dict.fromkeys((0, 1), "the target is no class")
    zero = Maps(lambda probe, inputs, targets: torch.zeros_like(inputs))
    about = judging(linear(), x, torch.rand(2, 1, 8, 8), method=zero)
    assert np.isnan(measured(RandomLogit(), about)).all()
    assert about.reasons == dict.fromkeys((0, 1), "the other class has no map to compare with")


# --- the same network for a shifted input --------------------------------------------------------------------------

FIRST: dict[str, dict[str, Any]] = {
    "padded": {"padding": 1},
    "not padded": {"padding": 0},
    "same": {"padding": "same", "kernel_size": (4, 3)},
    "uneven": {"padding": (2, 1), "stride": 2},
    "without bias": {"bias": False},
    "dilated": {"padding": 2, "dilation": 2},
    "grouped": {"groups": 3},
    "reflected": {"padding_mode": "reflect"},
    "repeated": {"padding_mode": "replicate"},
    "round": {"padding_mode": "circular"},
}


def convolution(**options: Any) -> nn.Module:
    torch.manual_seed(2)
    size = options.pop("kernel_size", 3)
    return nn.Sequential(
        nn.Conv2d(3, 6, size, **{"padding": 1, **options}), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), Mean()
    )


@pytest.mark.parametrize("options", FIRST.values(), ids=FIRST)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_the_shift_is_exact(options: dict[str, Any]) -> None:
    about = judging(convolution(**options), pictures())
    for shift in (1.0, -4.0):
        assert measured(InputInvariance(shift=shift), about) == pytest.approx([0.0] * 4, abs=1e-3)
    assert not about.reasons


@pytest.mark.parametrize("make", [linear, lambda: convolution(padding=1)])
def test_a_method_that_multiplies_by_the_input_is_not_invariant(make: Callable[[], nn.Module]) -> None:
    """Closed form: the gradient is the same, so the map changes by shift times gradient."""
    x, model = pictures(), make()
    about = judging(model, x, method=InputXGradient())
    g = about.probe.gradient(x, about.targets)
    expected = (0.5 * g).flatten(1).norm(dim=1) / (x * g).flatten(1).norm(dim=1)
    assert measured(InputInvariance(shift=0.5), about) == pytest.approx(expected.tolist(), rel=1e-3)


def test_rules_pass_through_the_shifted_layer() -> None:
    """A border that is padded with a constant is nothing that backward rules would not know."""
    about = judging(convolution(), pictures(), method=Lrp())
    assert np.isfinite(measured(InputInvariance(), about)).all()


class Beside(nn.Module):
    """The input reaches more than the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3)) + x.amax((1, 2, 3))[:, None]


class Doubled(nn.Sequential):
    """The input is not what the first layer sees."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: nn.Sequential(nn.BatchNorm2d(3), *convolution()), "cannot be shifted: it is BatchNorm2d"),
        (lambda: nn.Sequential(nn.AvgPool2d(4), nn.Flatten()), "cannot be shifted: it has none"),
        (Beside, "does not undo the shift"),
        (lambda: Doubled(*convolution()), "does not undo the shift"),
    ],
)
def test_networks_that_cannot_be_shifted_have_no_value(model: Callable[[], nn.Module], why: str) -> None:
    about = judging(model(), pictures(2))
    assert np.isnan(measured(InputInvariance(), about)).all()
    assert set(about.reasons) == {0, 1}
    assert all(why in reason for reason in about.reasons.values())


def test_the_network_itself_may_be_the_first_layer() -> None:
    class Flat(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1))

    assert measured(InputInvariance(), judging(Flat(192, 3), pictures())) == pytest.approx([0.0] * 4, abs=1e-4)


# --- completeness --------------------------------------------------------------------------------------------------


def test_maps_that_add_up() -> None:
    """Exact for a linear network; for others as near as the integral is taken."""
    x = pictures()
    assert measured(Completeness(), judging(linear(), x, method=InputXGradient())) == pytest.approx([0] * 4, abs=1e-4)
    fine = judging(network(), x, method=IntegratedGradients(steps=300))
    assert measured(Completeness(), fine) == pytest.approx([0] * 4, abs=2e-2)
    white = judging(network(), x, method=IntegratedGradients(steps=300, baseline="white"))
    assert measured(Completeness(baseline="white"), white) == pytest.approx([0] * 4, abs=2e-2)
    assert max(measured(Completeness(), white)) > 0.05  # another baseline than the method's


def test_the_error_is_relative_to_the_gain() -> None:
    model, x = linear(), pictures()
    about = judging(model, x, method=InputXGradient())
    for factor in (0.5, -1.0, 3.0):
        scaled = replace(about, maps=about.maps * factor)
        assert measured(Completeness(), scaled) == pytest.approx([abs(factor - 1)] * 4, abs=1e-3)


def test_where_completeness_means_nothing() -> None:
    x = pictures(2)
    coarse = judging(linear(), x, torch.rand(2, 1, 4, 4))
    assert np.isnan(measured(Completeness(), coarse)).all()
    assert coarse.reasons == dict.fromkeys((0, 1), "the map has a grid of 4x4, the input of 8x8")
    x[0] = 0  # what normalisation maps to 0 is the baseline itself
    still = judging(linear(), x, torch.randn(2, 3, 8, 8))
    assert np.isfinite(measured(Completeness(), still)).tolist() == [False, True]
    assert still.reasons == {0: "the score is the baseline's"}
    magnitudes = judging(linear(), x, torch.rand(2, 3, 8, 8))
    assert np.isnan(measured(Completeness(), magnitudes)).all()
    assert magnitudes.reasons[1] == "the map has no negative value: magnitudes do not add up to a gain of the score"
