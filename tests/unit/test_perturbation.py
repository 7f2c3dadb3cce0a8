"""Perturbation and path methods against closed forms, brute force, and the papers' algorithms written out."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xai_plugins.methods.blur_ig import BlurIntegratedGradients
from xai_plugins.methods.extremal_perturbation import ExtremalPerturbation
from xai_plugins.methods.feature_ablation import FeatureAblation
from xai_plugins.methods.guided_ig import GuidedIntegratedGradients
from xai_plugins.methods.kernel_shap import KernelShap
from xai_plugins.methods.lime import Lime
from xai_plugins.methods.rise import Rise
from xai_plugins.methods.xrai import Xrai, ranked
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import ConfigError, Explainer, Preprocess, blur, resize
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng

SIZE = 12
X = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([1, 0])


class Cells(nn.Module):
    """A game of 2 x 2 players: each is the mean of its quarter; class scores mix them, with or without products."""

    def __init__(self, interacting: bool) -> None:
        super().__init__()
        self.interacting = interacting

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = nn.functional.adaptive_avg_pool2d(x.sum(1, keepdim=True), 2).flatten(1).T
        first = 2 * a - b + 0.5 * c + 3
        second = first + (a * b * 5 + (c * d).sin() if self.interacting else d)
        return torch.stack([first, second], 1)


class Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(5 * 100, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.conv(x)).flatten(1))


def ask(model: nn.Module) -> SharedProbe:
    how = Preprocess(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.2))
    return SharedProbe(ModuleAdapter(model.double().eval(), how), Predicted(), chunk=5)


def explain(method: Explainer, model: nn.Module) -> Tensor:
    return method.explain(ask(model), X, TARGETS, NamedRng.of(0, ["a", "b"]))


def score(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).detach().gather(1, TARGETS[: len(x), None])[:, 0]


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def hidden(row: int, keep: tuple[int, ...]) -> Tensor:
    """The picture with only these quarters shown, the rest at 0."""
    x = torch.zeros_like(X[row : row + 1])
    for k in keep:
        i, j = divmod(k, 2)
        part = np.s_[:, :, i * 6 : i * 6 + 6, j * 6 : j * 6 + 6]
        x[part] = X[row : row + 1][part]
    return x


def value(model: nn.Module, row: int, keep: tuple[int, ...]) -> float:
    return float(model(hidden(row, keep)).detach()[0, TARGETS[row]])


# Shapley values and their kin


@pytest.mark.parametrize("interacting", [False, True])
def test_kernel_shap_of_all_coalitions_is_the_shapley_value(interacting: bool) -> None:
    model = Cells(interacting).double()
    expected = torch.zeros(2, 4, dtype=torch.float64)
    for row, k in itertools.product(range(2), range(4)):
        others = [i for i in range(4) if i != k]
        for n in range(4):
            weight = math.factorial(n) * math.factorial(3 - n) / math.factorial(4)
            for keep in itertools.combinations(others, n):
                expected[row, k] += weight * (value(model, row, (*keep, k)) - value(model, row, keep))
    close(explain(KernelShap(cells=2, samples=14), model), expected.view(2, 1, 2, 2))


def test_sampled_kernel_shap_is_efficient_and_near() -> None:
    model = Cells(True).double()
    exact = explain(KernelShap(cells=2, samples=14), model)
    close(exact.sum((1, 2, 3)), score(model, X) - score(model, 0 * X))
    sampled = explain(KernelShap(cells=4, samples=40), model)
    close(sampled.sum((1, 2, 3)), score(model, X) - score(model, 0 * X))


def test_additive_games_are_solved_exactly_by_every_method() -> None:
    model = Cells(False).double()
    alone = torch.tensor(
        [[value(model, r, (k,)) - value(model, r, ()) for k in range(4)] for r in range(2)], dtype=torch.float64
    ).view(2, 1, 2, 2)
    close(explain(FeatureAblation(cells=2), model), alone)
    close(explain(KernelShap(cells=2, samples=12), model), alone)
    close(explain(Lime(cells=2, samples=60, ridge=0.0), model), alone)


def test_feature_ablation_is_the_drop_of_each_part() -> None:
    model = Cells(True).double()
    found = explain(FeatureAblation(cells=2), model).flatten(1)
    for row, k in itertools.product(range(2), range(4)):
        without = tuple(i for i in range(4) if i != k)
        assert float(found[row, k]) == pytest.approx(value(model, row, (0, 1, 2, 3)) - value(model, row, without))


def test_lime_against_weighted_least_squares_in_numpy() -> None:
    model = Cells(True).double()
    found = explain(Lime(cells=2, samples=30, width=0.4, ridge=0.7), model).flatten(1)
    shown = NamedRng.of(0, ["a", "b"]).at("shown").uniform((2, 30, 4)) < 0.5
    for row in range(2):
        z = shown[row].double().numpy()
        y = np.array([value(model, row, tuple(np.flatnonzero(s))) for s in z])
        weights = np.exp(-((1 - np.sqrt(z.mean(1))) ** 2) / 0.4**2)
        design = np.hstack([np.ones((30, 1)), z])
        penalty = np.diag([0.0, 0.7, 0.7, 0.7, 0.7])
        beta = np.linalg.solve(design.T @ (weights[:, None] * design) + penalty, design.T @ (weights * y))
        np.testing.assert_allclose(found[row], beta[1:], rtol=1e-8)


def test_superpixels_follow_the_picture_and_their_absence_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = X[:1] * 0
    halves[:, :, :, SIZE // 2 :] = 2.0
    method = FeatureAblation(segments="slic", cells=2)
    maps = method.explain(ask(Smooth()), halves, TARGETS[:1], NamedRng.of(0, "a"))
    assert maps.shape == (1, 1, SIZE, SIZE)
    assert (maps[..., : SIZE // 2] == 0).all()  # hiding what is at the fill already changes nothing
    assert maps[..., SIZE // 2 :].any()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ConfigError, match=r'pip install "xai-framework\[segments\]"'):
        explain(FeatureAblation(segments="slic", cells=2), Smooth())


# RISE


@pytest.mark.parametrize("centred", [False, True])
def test_rise_against_equation_6(centred: bool) -> None:
    model = Smooth().double()
    method = Rise(masks=9, cells=4, keep=0.4, centred=centred)
    rng = NamedRng.of(0, ["a", "b"])
    grids = (rng.at("grid").uniform((2, 9, 4, 4)) < 0.4).double()
    shifts = rng.at("shift").uniform((2, 9, 2))
    expected = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.float64)
    for row in range(2):
        masks = []
        for k in range(9):
            large = resize(grids[row, k], (15, 15))
            y, x = (int(s * 3) for s in shifts[row, k])
            masks.append(large[y : y + SIZE, x : x + SIZE])
        scores = torch.stack([model(X[row : row + 1] * m)[0, TARGETS[row]].detach() for m in masks])
        scores = scores - scores.mean() if centred else scores
        expected[row, 0] = sum(s * m for s, m in zip(scores, masks, strict=True)) / (9 * 0.4)  # type: ignore[assignment]
    close(explain(method, model), expected)


def test_rise_finds_what_the_score_looks_at() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = x[:, :, :4, :4].abs().sum((1, 2, 3))
            return torch.stack([total, total], 1)

    maps = explain(Rise(masks=600, cells=4), Corner())
    assert (maps[:, 0, :4, :4].mean((1, 2)) > 3 * maps[:, 0].abs().mean((1, 2))).all()


# paths


def test_blur_ig_is_complete_and_follows_its_path() -> None:
    model = Smooth().double()
    gaps = []
    for steps in (2, 8, 32):
        maps = explain(BlurIntegratedGradients(steps=steps, sigma=3.0), model)
        gap = maps.sum((1, 2, 3)) - (score(model, X) - score(model, blur(X, 3.0)))
        gaps.append(float(gap.abs().max()))
    assert gaps[0] > 4 * gaps[1] > 16 * gaps[2]
    one = explain(BlurIntegratedGradients(steps=1, sigma=3.0), model)
    middle = ((X + blur(X, 3.0)) / 2).requires_grad_()
    slope = torch.autograd.grad(model(middle).gather(1, TARGETS[:, None]).sum(), middle)[0]
    close(one, (X - blur(X, 3.0)) * slope)


def slow_guided_ig(model: nn.Module, x: Tensor, target: int, steps: int, fraction: float, distance: float) -> Tensor:
    """Algorithm 1 value by value."""
    here, total = torch.zeros_like(x), torch.zeros_like(x)
    whole = float(x.abs().sum())
    for step in range(1, steps + 1):
        leaf = here.clone().requires_grad_()
        g = torch.autograd.grad(model(leaf[None])[0, target], leaf)[0]
        before = here.clone()
        low, high = max(step / steps - distance, 0), min(step / steps + distance, 1)
        flat, goal_of = here.view(-1), x.view(-1)
        for i in range(len(flat)):
            if abs(flat[i]) < low * abs(goal_of[i]):
                flat[i] = low * goal_of[i]
        goal = whole * (1 - step / steps)
        for _ in range(1000):
            excess = float((x - here).abs().sum()) - goal
            order = sorted(
                (i for i in range(len(flat)) if flat[i] != high * goal_of[i]), key=lambda i: abs(g.view(-1)[i])
            )
            if excess <= 1e-6 * max(goal, 1e-12) or not order:
                break
            chosen = order[: max(1, int(fraction * len(flat)))]
            possible = float(sum(abs(high * goal_of[i] - flat[i]) for i in chosen))
            share = min(1.0, excess / possible)
            for i in chosen:
                flat[i] = high * goal_of[i] if share == 1 else flat[i] + share * (high * goal_of[i] - flat[i])
            if share < 1:
                break
        total += (here - before) * g
    return total


def test_guided_ig_against_the_algorithm_value_by_value() -> None:
    model = Smooth().double()
    method = GuidedIntegratedGradients(steps=6, fraction=0.2, distance=0.1)
    found = explain(method, model)
    for row in range(2):
        close(found[row], slow_guided_ig(model, X[row], int(TARGETS[row]), 6, 0.2, 0.1), 1e-8)


def test_guided_ig_becomes_complete_with_steps() -> None:
    model = Smooth().double()
    gaps = []
    for steps in (10, 160):
        maps = explain(GuidedIntegratedGradients(steps=steps), model)
        gaps.append(float((maps.sum((1, 2, 3)) - (score(model, X) - score(model, 0 * X))).abs().max()))
    assert gaps[1] < gaps[0] / 4


def test_xrai_ranks_regions_by_density() -> None:
    attribution = np.zeros((4, 4))
    attribution[0, 0], attribution[3, 3] = 8.0, 3.0
    left, corner, rest = (np.zeros((4, 4), dtype=bool) for _ in range(3))
    left[:, :2], corner[3, 3], rest[:, 2:] = True, True, True
    found = ranked(attribution, [left, corner, rest])
    assert found[3, 3] == 3.0  # one pixel of 3 is denser than eight of 1
    assert (found[:, :2] == 1.0).all()
    assert (found[:3, 2:] == 0.0).all()


def test_xrai_covers_the_picture_with_regions() -> None:
    maps = explain(Xrai(steps=4, dilation=0), Smooth())
    assert maps.shape == (2, 1, SIZE, SIZE)
    assert maps[0].unique().numel() < SIZE * SIZE


# extremal perturbation


class Spot(nn.Module):
    """Only a corner matters."""

    def forward(self, x: Tensor) -> Tensor:
        total = (x[:, :, :4, :4] ** 2).sum((1, 2, 3))
        return torch.stack([total, total], 1)


def test_extremal_perturbation_keeps_what_matters_at_the_area_asked_for() -> None:
    method = ExtremalPerturbation(area=0.15, steps=150, cells=6)
    maps = explain(method, Spot())
    assert float(maps.min()) >= 0
    assert float(maps.max()) <= 1
    large = resize(maps, (SIZE, SIZE))[:, 0]
    inside, outside = large[:, :4, :4].mean((1, 2)), large[:, 6:, 6:].mean((1, 2))
    assert (inside > 0.5).all()
    assert (outside < 0.2).all()
    assert (maps.mean((1, 2, 3)) < 0.3).all()


@pytest.mark.parametrize(
    "method",
    [Lime(cells=3, samples=20), Rise(masks=20), KernelShap(cells=3, samples=50)],
    ids=lambda m: type(m).__name__,
)
def test_noise_is_by_image_and_seed(method: Explainer) -> None:
    model = Smooth()
    both = explain(method, model)
    alone = method.explain(ask(model), X[1:], TARGETS[1:], NamedRng.of(0, ["b"]))
    close(both[1:], alone, 1e-12)
    other = method.explain(ask(model), X[1:], TARGETS[1:], NamedRng.of(1, ["b"]))
    assert not torch.allclose(alone, other)
