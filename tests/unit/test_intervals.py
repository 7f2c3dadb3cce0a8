"""Intervals against closed forms, published values, a solver, and simulation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, special, stats

from benchmarks.coverage import KINDS, Kind, bca, covered, covered_share
from xai_framework.statistics import Interval, mean_interval, median_interval
from xai_framework.statistics.intervals import order_statistics


def test_wilson_for_shares() -> None:
    # 8 of 10: Wilson 1927's score interval, 0.4902 to 0.9433
    found = mean_interval(np.array([1.0] * 8 + [0.0] * 2))
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)


def test_values_that_could_have_been_anything_are_no_share() -> None:
    zeros = np.zeros(77)  # of a distance, say
    assert mean_interval(zeros) == Interval(0.0, 0.0, 0.0)
    assert mean_interval(zeros, (0.0, 1.0)).high == pytest.approx(0.0475, abs=1e-4)  # 0 of 77 by Wilson
    assert mean_interval(np.array([0.0, 1.0] * 4), (0.0, np.inf)).low == pytest.approx(0.2152, abs=1e-4)  # 4 of 8


def test_degenerate_samples() -> None:
    assert mean_interval(np.full(5, 0.25)) == Interval(0.25, 0.25, 0.25)
    one = mean_interval(np.array([0.3]))
    assert one.value == 0.3
    assert math.isnan(one.low)
    assert math.isnan(median_interval(np.array([0.3])).high)
    for empty in (mean_interval(np.array([])), median_interval(np.array([]))):
        assert math.isnan(empty.value)


def test_of_symmetric_values_it_is_students_interval() -> None:
    values = np.array([-3.0, -1.0, 0.0, 1.0, 3.0]) + 7
    half = stats.t.ppf(0.975, 4) * math.sqrt(5 / 5)  # the sum of squares is 20, over 4 values free, over 5
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((7 - half, 7 + half))


def test_halls_transformation_of_the_bounds_is_students_quantile() -> None:
    values = np.random.default_rng(0).lognormal(size=31)
    n, mean, spread = len(values), values.mean(), values.std(ddof=1)
    skewness = float(stats.skew(values))

    def transformed(mu: float) -> float:
        """Hall 1992, equation 2.2, with a = 1/3 and b = 1/6."""
        t = (mean - mu) / (spread / math.sqrt(n))
        slope = skewness / math.sqrt(n)
        return float(t + slope * t**2 / 3 + slope**2 * t**3 / 27 + slope / 6)

    quantile = float(special.stdtrit(n - 1, 0.975))
    low = optimize.brentq(lambda mu: transformed(mu) - quantile, mean - 10, mean)
    high = optimize.brentq(lambda mu: transformed(mu) + quantile, mean, mean + 10)
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.high - mean > mean - found.low  # a long right tail may hide more there
    mirrored = mean_interval(-values)
    assert (mirrored.low, mirrored.high) == pytest.approx((-high, -low), rel=1e-9)
    scaled = mean_interval(1e-9 * values + 5)
    assert (scaled.low - 5, scaled.high - 5) == pytest.approx((1e-9 * low, 1e-9 * high), rel=1e-5)


def test_intervals_stay_within_what_is_possible() -> None:
    values = np.array([0.97, 0.99, 1.0, 0.98, 0.6])
    assert mean_interval(values).high > 1
    assert mean_interval(values, (0.0, 1.0)).high == 1.0
    assert mean_interval(values, (0.0, 1.0)).low == mean_interval(values).low


def test_order_statistics_against_a_published_value() -> None:
    # n = 10: from the second to the ninth smallest holds the median with 1 - 2 * 11 / 1024 = 97.85 %, from the third to
    # the eighth with 1 - 2 * 56 / 1024 = 89.06 %; Hettmansperger & Sheather 1986 put 95 % between them
    weight = (0.978515625 - 0.95) / (0.978515625 - 0.890625)
    share = 8 * weight / (2 + 6 * weight)
    low, high = order_statistics(np.arange(1.0, 11.0)[None])
    assert (low[0], high[0]) == pytest.approx((2 + share, 9 - share))
    few = median_interval(np.array([4.0, 1.0, 2.0]))
    assert (few.value, few.low, few.high) == (2.0, 1.0, 4.0)


def test_the_bootstrap_it_is_compared_with_is_scipys() -> None:
    values = np.random.default_rng(1).exponential(size=50)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=0).confidence_interval
    low, high = bca(values[None], 0)
    width = theirs.high - theirs.low
    assert low[0] == pytest.approx(theirs.low, abs=0.04 * width)
    assert high[0] == pytest.approx(theirs.high, abs=0.04 * width)


@pytest.mark.parametrize("kind", KINDS, ids=[k.name for k in KINDS])
def test_intervals_cover_the_truth_as_often_as_they_say(kind: Kind) -> None:
    """2,000 samples of 200: three standard errors are 1.5 %-points."""
    mean, median = covered(kind, 200, 2000)
    assert 0.93 - 0.015 < mean < 0.97
    assert median > 0.935
    if kind.median:  # else half of the values and more are equal, and the interval is that value
        assert median < 0.97


def test_simulated_kinds_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    for kind in KINDS:
        values = kind.draw(rng, (1, 400_000))
        assert values.mean() == pytest.approx(kind.mean, rel=0.02)
        assert np.median(values) == pytest.approx(kind.median, rel=0.02)


def test_wilsons_coverage_is_exact() -> None:
    # n = 2, p = 1/2: the interval of 1 of 2 holds 1/2, and so do those of 0 and 2 (0 to 0.658, 0.342 to 1)
    assert covered_share(0.5, 2) == pytest.approx(1.0)
    # a score interval holds p where the score test of p is not rejected
    inside = [k for k in range(21) if abs(k / 20 - 0.95) <= 1.959964 * math.sqrt(0.95 * 0.05 / 20)]
    assert covered_share(0.95, 20) == pytest.approx(sum(stats.binom.pmf(k, 20, 0.95) for k in inside))


def test_the_table_of_the_documentation_is_of_these_kinds() -> None:
    page = Path("docs/comparing.md").read_text("utf-8")
    for kind in KINDS:
        assert f"| {kind.name} | **mean, Hall** |" in page
