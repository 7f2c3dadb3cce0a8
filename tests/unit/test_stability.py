"""Stability of rankings against counting by hand, all samples there are, and scipy."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from xai_framework.statistics import compared, stability
from xai_framework.statistics.stability import kendall


def test_places_against_all_bootstrap_samples() -> None:
    values = {"a": [3.0, 1.0, 5.0], "b": [2.0, 2.0, 4.0], "c": [1.0, 3.0, 3.0]}
    ranks = {"a": [1, 3, 1], "b": [2, 2, 2], "c": [3, 1, 3]}
    expected: dict[str, Counter[int]] = {label: Counter() for label in values}
    first = dict.fromkeys(values, 0.0)
    for sample in itertools.product(range(3), repeat=3):  # 27 samples, each as likely as the others
        sums = {label: sum(r[i] for i in sample) for label, r in ranks.items()}
        places = {label: 1 + sum(other < own for other in sums.values()) for label, own in sums.items()}
        winners = [label for label, place in places.items() if place == 1]
        for label, place in places.items():
            expected[label][place] += 1
            first[label] += (label in winners) / len(winners) / 27
    found = stability(compared({k: np.array(v) for k, v in values.items()}, metric="m"), draws=20_000)
    assert [p.label for p in found.places] == ["a", "b", "c"]
    for p in found.places:
        share = expected[p.label][p.place] / 27
        assert p.kept == pytest.approx(share, abs=0.015)  # four standard errors of 20,000 draws
        assert p.first == pytest.approx(first[p.label], abs=0.015)
        assert (p.low, p.high) == (min(expected[p.label]), max(expected[p.label]))
    assert sum(p.first for p in found.places) == pytest.approx(1.0)


def test_methods_that_never_differ_share_the_first_place() -> None:
    same = np.random.default_rng(0).uniform(size=12)
    found = stability(compared({"a": same, "b": same.copy(), "c": same - 1}, metric="m"))
    assert [(p.place, p.kept, p.first) for p in found.places] == [(1, 1.0, 0.5), (1, 1.0, 0.5), (3, 1.0, 0.0)]
    assert found.samples[0].tau == 1.0


@pytest.mark.parametrize("higher", [True, False])
def test_direction(higher: bool) -> None:
    base = np.linspace(0, 1, 10)
    found = stability(compared({"low": base, "high": base + 0.3}, metric="m", higher_is_better=higher))
    winner = "high" if higher else "low"
    assert {p.label: p.first for p in found.places}[winner] == 1.0


def test_smaller_samples_rank_less_surely() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(6, 200)) + 0.15 * np.arange(6)[:, None]
    found = stability(compared({str(i): row for i, row in enumerate(table)}, metric="m"))
    assert [s.images for s in found.samples] == [100, 50, 25, 12, 6]
    taus = [s.tau for s in found.samples]
    assert taus == sorted(taus, reverse=True)
    assert taus[0] > taus[-1] + 0.1
    assert all(s.low <= s.tau <= s.high <= 1 for s in found.samples)
    assert found.samples[0].same_first > found.samples[-1].same_first


def test_tau_of_a_half_against_all_halves() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(4, 10)) + 0.4 * np.arange(4)[:, None]
    ranks = stats.rankdata(-values, axis=0)
    whole = ranks.mean(1)
    taus = [
        stats.kendalltau(whole, ranks[:, list(half)].mean(1).round(9)).statistic
        for half in itertools.combinations(range(10), 5)
    ]
    (half,) = stability(compared({str(i): v for i, v in enumerate(values)}, metric="m")).samples
    assert half.images == 5
    error = np.nanstd(taus) / math.sqrt(2000)
    assert half.tau == pytest.approx(np.nanmean(taus), abs=5 * error)


def test_kendall_is_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, (7, 30)).astype(float), rng.integers(0, 4, (7, 30)).astype(float)
    expected = [stats.kendalltau(a, b).statistic for a, b in zip(first.T, second.T, strict=True)]
    np.testing.assert_allclose(kendall(first, second), expected)
    assert np.isnan(kendall(np.ones((3, 1)), np.arange(3.0)[:, None])).all()


def test_seeds_beside_images() -> None:
    images = np.array([0.0, 1.0, 2.0, 5.0])
    values = {
        "smoothgrad[seed=0]": images,
        "smoothgrad[seed=1]": images + np.array([0.2, 0.2, 0.2, 0.2]),
        "sobol[samples=8,seed=0]": images,
        "sobol[samples=8,seed=1]": images + np.array([0.3, -0.3, 0.3, -0.3]),
        "gradient": images + 1,
    }
    found = {s.label: s for s in stability(compared(values, metric="m")).seeds}
    assert set(found) == {"smoothgrad", "sobol[samples=8]"}
    s = found["smoothgrad"]
    assert s.seeds == (0, 1)
    assert s.mean == pytest.approx(2.1)
    assert s.of_means == pytest.approx(0.2 / math.sqrt(2))
    assert s.of_image == pytest.approx(0.2 / math.sqrt(2))
    # the images' means are 0.1, 1.1, 2.1, 5.1: squares of deviations from 2.1 sum to 14
    assert s.between_images == pytest.approx(math.sqrt(14 / 3))
    assert s.standard_error == pytest.approx(math.sqrt(14 / 3) / 2)
    noisy = found["sobol[samples=8]"]
    assert noisy.of_means == pytest.approx(0.0, abs=1e-12)
    assert noisy.of_image == pytest.approx(0.3 / math.sqrt(2))


def test_what_cannot_be_ranked_says_so() -> None:
    alone = stability(compared({"a": np.arange(5.0)}, metric="m"))
    assert alone.places == ()
    assert "no ranking" in alone.words
    apart = {"a": np.array([1.0, np.nan]), "b": np.array([np.nan, 1.0])}
    none = stability(compared(apart, metric="m"))
    assert (none.images, none.places, none.samples, none.seeds) == (0, (), (), ())


def test_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    found = compared({"a": rng.normal(size=40), "b": rng.normal(size=40)}, metric="m")
    assert stability(found) == stability(found)
    assert stability(found, seed=1) != stability(found)
