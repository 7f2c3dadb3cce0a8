"""Path methods against the papers' algorithms written out, completeness, and values of the authors' own code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xai_plugins.methods.blur_ig import BlurIntegratedGradients
from xai_plugins.methods.guided_ig import GuidedIntegratedGradients
from xai_plugins.methods.xrai import Xrai, ranked
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Explainer, Preprocess, blur
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng

SIZE = 12
X = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([1, 0])


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


