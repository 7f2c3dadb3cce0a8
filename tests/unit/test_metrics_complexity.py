"""Metrics of complexity: closed forms, slow formulas, published numbers, and maps that have none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xai_plugins.metrics.effective_complexity import EffectiveComplexity
from xai_plugins.metrics.entropy import Entropy
from xai_plugins.metrics.gini import Gini

from tests.unit.judging import judging, measured
from xai_framework.core import Case, Metric

ALL: tuple[Metric, ...] = (Gini(), Entropy(), EffectiveComplexity())


def case(maps: Tensor) -> Case:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * maps[0, 0].numel(), 2))
    return judging(network, torch.zeros(len(maps), 3, *maps.shape[-2:]), maps)


def test_the_numbers_of_quantus() -> None:
    counting = case(torch.arange(1.0, 17.0).view(1, 1, 4, 4))
    assert measured(Gini(), counting) == pytest.approx([0.3125], abs=1e-12)
    assert measured(Gini(), counting) == pytest.approx([0.31249994117648], abs=1e-7)  # it adds 1e-7 to each value
    assert measured(Entropy(), counting) == pytest.approx([2.60712639171890], abs=1e-10)
    exact = -math.fsum(k / 136 * math.log(k / 136) for k in range(1, 17))
    assert measured(Entropy(), counting) == pytest.approx([exact], abs=1e-14)
    assert measured(EffectiveComplexity(), counting) == [16.0]


@pytest.mark.parametrize("hot", [1, 5, 64])
def test_heat_the_same_in_some_pixels_and_zero_elsewhere(hot: int) -> None:
    maps = torch.zeros(1, 1, 8, 8)
    maps.view(-1)[torch.randperm(64)[:hot]] = -2.5  # by default the size counts
    assert measured(Gini(), case(maps)) == pytest.approx([1 - hot / 64], abs=1e-12)
    assert measured(Entropy(), case(maps)) == pytest.approx([math.log(hot)], abs=1e-12)
    assert measured(EffectiveComplexity(), case(maps)) == [hot]


def test_slow_formulas() -> None:
    maps = torch.randn(4, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    for heat, sign in ((maps.sum(1).abs(), "absolute"), (maps.sum(1).clamp(min=0), "positive")):
        values = heat.double().flatten(1).numpy()
        mean_difference = [np.abs(v[:, None] - v[None]).mean() / (2 * v.mean()) for v in values]
        assert measured(Gini(sign=sign), case(maps)) == pytest.approx(mean_difference, abs=1e-9)
        entropies = [-sum(p * math.log(p) for p in v / v.sum() if p > 0) for v in values]
        assert measured(Entropy(sign=sign), case(maps)) == pytest.approx(entropies, abs=1e-9)
        counts = [int((v > 0.1 * v.max()).sum()) for v in values]
        assert measured(EffectiveComplexity(sign=sign, eps=0.1), case(maps)) == counts


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_the_scale_does_not_matter(metric: Metric) -> None:
    maps = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = measured(metric, case(maps))
    for scale in (1e-20, 1e15):
        assert measured(metric, case(maps * scale)) == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_alone_as_in_a_batch_and_in_range(metric: Metric) -> None:
    maps = torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    together = measured(metric, case(maps))
    assert together == [measured(metric, case(maps[i : i + 1]))[0] for i in range(5)]
    assert all(metric.range[0] <= value <= metric.range[1] for value in together)


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_maps_without_heat_have_no_value(metric: Metric) -> None:
    maps = torch.stack([torch.rand(2, 8, 8), torch.stack([torch.ones(8, 8), -torch.ones(8, 8)]), -torch.ones(2, 8, 8)])
    about = case(maps)
    assert np.isfinite(measured(metric, about)).tolist() == [True, False, True]
    assert about.reasons == {1: "the map's channels sum to 0"}
    about = case(maps)
    assert np.isfinite(measured(metric.replace(sign="positive"), about)).tolist() == [True, False, False]
    assert about.reasons == dict.fromkeys((1, 2), "the map has no positive heat")
