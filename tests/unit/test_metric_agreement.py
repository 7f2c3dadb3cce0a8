"""Agreement of metrics against hand-made rankings and all permutations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from xai_framework.statistics import Comparison, compared
from xai_framework.statistics.agreement import agreement, chance


def ranked(metric: str, order: str, backbone: str = "", controls: str = "") -> Comparison:
    """A comparison in which the methods stand in this order."""
    values = {label: np.full(3, -float(place)) for place, label in enumerate(order)}
    return compared(values, metric=metric, backbone=backbone, controls=set(controls))


@pytest.mark.parametrize("methods", [2, 3, 4, 5, 6, 7])
def test_chance_against_all_permutations(methods: int) -> None:
    taus = [stats.kendalltau(range(methods), p).statistic for p in itertools.permutations(range(methods))]
    rare = [t for t in sorted(set(np.round(np.abs(taus), 9))) if np.mean(np.abs(taus) > t - 1e-9) <= 0.05]
    assert chance(methods) == pytest.approx(min(rare) if rare else 2.0)


def test_pairs_by_hand() -> None:
    found = agreement([ranked("a", "pqrst"), ranked("b", "tsrqp"), ranked("c", "qprst")])
    assert found.metrics == ("a", "b", "c")
    assert found.tau("a", "b") == pytest.approx(-1.0)
    assert found.tau("c", "a") == pytest.approx(0.8)  # one of ten pairs is turned round
    assert found.tau("a", "a") == 1.0
    assert [(p.first, p.second) for p in found.pairs if p.contradicts] == [("a", "b")]
    assert "a and b contradict each other (tau -1.00, 5 methods)" in found.words
    assert "no more than chance can make them: b and c (-0.80)" in found.words


def test_the_mean_over_backbones_and_never_across_them() -> None:
    found = agreement(
        [ranked("a", "pq", "x"), ranked("b", "pq", "x"), ranked("a", "pq", "y"), ranked("b", "qp", "y")],
    )
    (pair,) = found.pairs
    assert (pair.tau, pair.rankings, pair.methods) == (0.0, 2, 2)


def test_controls_do_not_count() -> None:
    both = [ranked(m, order, controls="cd") for m, order in (("a", "pqcd"), ("b", "qpcd"))]
    assert agreement(both).tau("a", "b") == -1.0
    assert "no more than chance" in agreement(both).words


def test_what_is_not_known_says_so() -> None:
    assert math.isnan(agreement([ranked("a", "p"), ranked("b", "p")]).tau("a", "b"))
    assert agreement([ranked("a", "pq")]).words.startswith("agreement needs two metrics")
    assert agreement([ranked("a", "pqr"), ranked("b", "pqr")]).words.startswith("no two metrics")
