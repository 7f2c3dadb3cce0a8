"""Path methods against the papers' algorithms written out, completeness, and values of the authors' own code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xai_plugins.methods.blur_ig import BlurIntegratedGradients
from xai_plugins.methods.guided_ig import GuidedIntegratedGradients
from xai_plugins.methods.integrated_gradients import IntegratedGradients
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
            chosen = order[: int(fraction * (len(flat) - 1)) + 1]  # the lower quantile, as the authors' code takes it
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


class Waves(nn.Module):
    """sin(sum w x^2) + sum w tanh x of a picture of 3 x 4 values."""

    weights = torch.arange(1.0, 13.0, dtype=torch.float64).view(3, 4) / 6

    def forward(self, x: Tensor) -> Tensor:
        total = (self.weights * x.square()).sum((1, 2, 3)).sin() + (self.weights * x.tanh()).sum((1, 2, 3))
        return torch.stack([total, -total], 1)


@pytest.mark.parametrize(
    ("steps", "fraction", "distance", "expected"),
    [
        (
            5,
            0.25,
            0.1,
            [
                [-0.139293974111, -0.229105597582, -0.175648348847, -0.221750466017],
                [-0.175957606469, 0.0, 0.296498342601, 0.593367401602],
                [0.907576024004, 1.278880431761, 2.518334159371, 3.304003353171],
            ],
        ),
        (
            8,
            0.4,
            1.0,
            [
                [0.001426929243, -0.070421471641, -0.160584345579, -0.212456772085],
                [-0.173002485704, 0.0, 0.2738252665, 0.569446387454],
                [0.847311459935, 1.07348868744, 1.223220103711, 3.795241782029],
            ],
        ),
    ],
)
def test_guided_ig_is_that_of_the_authors(
    steps: int, fraction: float, distance: float, expected: list[list[float]]
) -> None:
    """Values of ``guided_ig_impl`` of the authors' package saliency 0.2.1."""
    x = torch.arange(-5.0, 7.0, dtype=torch.float64).view(1, 1, 3, 4) / 4
    method = GuidedIntegratedGradients(steps=steps, fraction=fraction, distance=distance)
    probe = SharedProbe(ModuleAdapter(Waves(), Preprocess(mean=(0.0,), std=(1.0,))), Predicted())
    maps = method.explain(probe, x, torch.tensor([0]), NamedRng.of(0, "a"))
    close(maps, torch.tensor([[expected]], dtype=torch.float64), 1e-10)


def test_guided_ig_without_freedom_is_the_straight_path() -> None:
    """Distance 0: integrated gradients with the left sum."""
    model = Smooth().double()
    straight = IntegratedGradients(steps=7, sum="left")
    close(explain(GuidedIntegratedGradients(steps=7, distance=0.0), model), explain(straight, model), 1e-9)


def test_guided_ig_ends_where_gradients_are_not_numbers_and_where_nothing_is_to_walk() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.sum((1, 2, 3)) * float("nan"))[:, None].expand(-1, 2)

    assert explain(GuidedIntegratedGradients(steps=3), Broken()).isnan().any()
    still = GuidedIntegratedGradients(steps=3).explain(ask(Smooth()), 0 * X, TARGETS, NamedRng.of(0, ["a", "b"]))
    assert (still == 0).all()


def test_xrai_ranks_regions_by_density() -> None:
    attribution = np.zeros((4, 4))
    attribution[0, 0], attribution[3, 3] = 8.0, 3.0
    left, corner, rest = (np.zeros((4, 4), dtype=bool) for _ in range(3))
    left[:, :2], corner[3, 3], rest[:, 2:] = True, True, True
    found = ranked(attribution, [left, corner, rest])
    assert found[3, 3] == 3.0  # one pixel of 3 is denser than eight of 1
    assert (found[:, :2] == 1.0).all()
    assert (found[:3, 2:] == 0.0).all()
    coarse = ranked(attribution, [left, corner, rest], fresh=2)
    assert (coarse[:, 2:] == 3 / 8).all()  # a single pixel is no region


@pytest.mark.parametrize(
    ("fresh", "rows"),
    [
        (1, ["aaabbb", "aacbbb", "addbba", "dddbaa", "dddaaa", "eeaaae"]),
        (4, ["aaafff", "aacfff", "agggfa", "ggggaa", "gggaaa", "ggaaaf"]),
    ],
)
def test_xrai_ranks_as_the_authors_do(fresh: int, rows: list[str]) -> None:
    """Values of ``XRAI._xrai`` of the authors' package saliency 0.2.1, ``min_pixel_diff`` = fresh."""
    values = {
        "a": 0.352421837572,
        "b": 0.210256322512,
        "c": 0.03057421377,
        "d": -0.095041715377,
        "e": 0.641114552535,
        "f": 0.038287750582,
        "g": 0.229084569379,
    }
    y, x = np.mgrid[:6, :6]
    attribution = np.sin(y * 1.3 + 1) * np.cos(x * 0.9) + 0.1 * x
    regions = [x < 3, x >= 3, y < 2, (y >= 2) & (x < 4), (y + x) % 7 < 3, y > 4, abs(y - 3) + abs(x - 2) < 3]
    expected = [[values[name] for name in row] for row in rows]
    np.testing.assert_allclose(ranked(attribution, regions, fresh), expected, atol=1e-10)


def test_xrai_covers_the_picture_with_regions_and_ranks_integrated_gradients() -> None:
    """One granularity, nothing widened: the regions tile the picture, each with its mean attribution."""
    pytest.importorskip("skimage")
    y, x = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    quarters = (y >= 10) * 2 + (x >= 14)  # four flat colours
    levels = torch.tensor([1.9, 0.2, -0.5, 0.9], dtype=torch.float64)
    picture = levels[quarters].expand(1, 3, -1, -1) * torch.tensor([1.0, 0.5, 0.8]).view(1, 3, 1, 1)
    model = Pooled()
    run = {"probe": ask(model), "inputs": picture, "targets": TARGETS[1:], "rng": NamedRng.of(0, "a")}
    found = Xrai(steps=4, dilation=0, scales=(50.0,), smallest=20).explain(**run)
    paths = [IntegratedGradients(steps=4, baseline=b, reduce="sum").explain(**run) for b in ("black", "white")]
    mean = sum(paths) / 2
    means = {float(level): float(mean[found == level].mean()) for level in found.unique()}
    assert len(means) >= 4
    assert all(level == pytest.approx(value, abs=1e-12) for level, value in means.items())
    corners = found[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]]  # the segmentation blurs what lies between
    best = int(torch.stack([mean[0, 0][quarters == q].mean() for q in range(4)]).argmax())
    assert int(corners.argmax()) == best
    assert corners.unique().numel() == 4


def test_xrai_takes_the_authors_regions() -> None:
    """Contrast does not matter: the picture is stretched to [-1, 1] first."""
    rng = np.random.default_rng(0)
    picture = rng.random((6, 6, 3)).repeat(4, 0).repeat(4, 1)
    one, other = (Xrai()._regions(p) for p in (picture, 0.3 + picture / 5))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert np.any(one, axis=0).all()
    assert len(Xrai()._regions(0 * picture)) == 6  # a flat picture is one region at each granularity


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        a = nn.functional.adaptive_avg_pool2d(x.tanh(), 4).flatten(1)
        return torch.stack([a.square().sum(1), a[:, ::3].sum(1) * a[:, 1::3].sum(1)], 1)
