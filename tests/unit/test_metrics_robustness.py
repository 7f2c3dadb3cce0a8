"""Metrics of robustness against slow loops, captum, and what is known of linear and quadratic models."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from judging import Maps, judging, measured
from torch import Tensor, nn
from xai_plugins.methods.guided_gradcam import GuidedGradCam
from xai_plugins.methods.smoothgrad import SmoothGrad
from xai_plugins.metrics._neighbours import Neighbours
from xai_plugins.metrics.local_lipschitz import LocalLipschitz
from xai_plugins.metrics.max_sensitivity import MaxSensitivity

from xai_framework.core import Metric, Shape

SIZE = 10


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def convolutional() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Softplus(),
        nn.Conv2d(6, 8, 3),
        nn.Softplus(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


class Quadratic(nn.Module):
    """Logit 0 is half the squared length: its gradient is the picture itself."""

    def forward(self, x: Tensor) -> Tensor:
        length = x.flatten(1).square().sum(1) / 2
        return torch.stack([length, -length], 1)


X = drawn(4, 3, SIZE, SIZE)
EVERY: list[Neighbours] = [MaxSensitivity(draws=3), LocalLipschitz(draws=3), LocalLipschitz(draws=2, relative=True)]


def ids(metric: Metric) -> str:
    return f"{type(metric).__name__} {getattr(metric, 'relative', '')}".strip()


def nearby(case: Any, metric: Neighbours) -> Tensor:
    """(n,B,C,H,W)."""
    stream = case.rng.shared("neighbours")
    return torch.stack([X + metric.radius * (2 * stream.at(k).uniform(X.shape) - 1) for k in range(metric.draws)])


@pytest.mark.parametrize("metric", EVERY, ids=ids)
def test_picture_by_picture(metric: Neighbours) -> None:
    model = convolutional()
    case = judging(model, X)
    values = measured(metric, case)
    for i, row in enumerate(case.targets.tolist()):

        def gradient(x: Tensor, row: int = row) -> Tensor:
            leaf = x[None].clone().requires_grad_()
            return torch.autograd.grad(model(leaf)[0, row], leaf)[0][0]

        size = gradient(X[i]).norm()
        found = []
        for noisy in nearby(case, metric)[:, i]:
            moved = (gradient(noisy) - gradient(X[i])).norm()
            away = (noisy - X[i]).norm()
            assert float((noisy - X[i]).abs().max()) <= metric.radius + 1e-6
            if isinstance(metric, MaxSensitivity):
                found.append(float(moved / size))
            else:
                found.append(float(moved / away / (size if getattr(metric, "relative") else 1)))  # noqa: B009
        assert values[i] == pytest.approx(max(found), rel=1e-4)


def test_max_sensitivity_as_captum_has_it() -> None:
    from captum.metrics import sensitivity_max

    model = convolutional()
    metric = MaxSensitivity(draws=5, radius=0.2)
    case = judging(model, X)

    def gradient(x: Any, target: Tensor) -> tuple[Tensor]:
        with torch.enable_grad():
            leaf = (x[0] if isinstance(x, tuple) else x).detach().clone().requires_grad_()
            score = model(leaf).gather(1, target[:, None]).sum()
            return (torch.autograd.grad(score, leaf)[0],)

    noisy = nearby(case, metric).transpose(0, 1).flatten(0, 1)
    theirs = sensitivity_max(gradient, X, lambda x: noisy, n_perturb_samples=5, target=case.targets)
    np.testing.assert_allclose(measured(metric, case), theirs.numpy(), rtol=1e-4)


@pytest.mark.parametrize("metric", EVERY, ids=ids)
def test_a_linear_model_has_the_same_gradient_everywhere(metric: Neighbours) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 4))
    assert max(measured(metric, judging(model, X))) < 1e-6


def test_a_quadratic_model_has_a_slope_of_one() -> None:
    case = judging(Quadratic(), X)
    np.testing.assert_allclose(measured(LocalLipschitz(draws=4), case), 1, rtol=1e-4)
    near, far = (np.array(measured(MaxSensitivity(draws=4, radius=r), case)) for r in (0.1, 0.4))
    np.testing.assert_allclose(far, 4 * near, rtol=1e-4)


@pytest.mark.parametrize("metric", EVERY, ids=ids)
def test_an_image_alone_gets_what_it_gets_in_a_batch(metric: Neighbours) -> None:
    model = convolutional()
    for method in (Maps(), SmoothGrad(samples=3)):
        together = measured(metric, judging(model, X, method=method))
        np.testing.assert_allclose(measured(metric, judging(model, X, method=method, chunk=3)), together, rtol=1e-3)
        alone = judging(model, X[:1], method=method)
        assert measured(metric, alone) == pytest.approx(together[:1], rel=1e-3)


@pytest.mark.parametrize("metric", EVERY, ids=ids)
def test_every_method_sees_the_same_neighbours_and_another_seed_others(metric: Neighbours) -> None:
    seen: list[list[Tensor]] = []
    for seed, sign in ((0, 1.0), (0, -2.0), (1, 1.0)):
        asked: list[Tensor] = []

        def make(probe: Any, x: Tensor, t: Tensor, asked: list[Tensor] = asked, sign: float = sign) -> Tensor:
            asked.append(x)
            return sign * probe.gradient(x, t)

        measured(metric, judging(convolutional(), X, method=Maps(make), seed=seed))
        seen.append(asked[1:])
    assert len(seen[0]) == metric.draws
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(seen[0], seen[2], strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])


@pytest.mark.parametrize("metric", EVERY, ids=ids)
def test_the_methods_passes_once_a_draw_and_the_model_is_left_alone(metric: Neighbours) -> None:
    model = convolutional()
    before = deepcopy(model.state_dict())
    case = judging(model, X)
    counts = case.probe.counts  # type: ignore[attr-defined]
    start = (counts.forward, counts.backward)
    measured(metric, case)
    made = (counts.forward - start[0], counts.backward - start[1])
    assert made == (metric.draws * len(X), metric.draws * len(X))
    assert metric.needs(Shape((3, SIZE, SIZE))) == ()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_map_on_another_grid() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
    model(X)
    case = judging(model, X, method=GuidedGradCam())
    assert np.isfinite(measured(MaxSensitivity(draws=2), case)).all()


@pytest.mark.parametrize("metric", EVERY, ids=ids)
def test_a_neighbour_without_a_map_leaves_one_image_without_a_value(metric: Neighbours) -> None:
    def make(probe: Any, x: Tensor, t: Tensor) -> Tensor:
        maps = probe.gradient(x, t).clone()
        if not torch.equal(x, X):
            maps[2, 0, 0, 0] = torch.nan
        return maps

    case = judging(convolutional(), X, method=Maps(make))
    assert np.isnan(measured(metric, case)).tolist() == [False, False, True, False]
    assert "not finite" in case.reasons[2]
