"""Intervals of means, medians and shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 2000

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A statistic with its 95 % confidence interval; NaN where there are no values, NaN bounds where there is one."""

    value: float
    low: float
    high: float


def mean_interval(values: Numbers, seed: int = 0) -> Interval:
    """Of the mean: Wilson's where all values are 0 or 1, else the BCa bootstrap over images."""
    from scipy import stats

    if len(values) > 1 and np.isin(values, (0.0, 1.0)).all():
        found = stats.binomtest(int(values.sum()), len(values)).proportion_ci(LEVEL, method="wilson")
        return Interval(float(values.mean()), float(found.low), float(found.high))
    return bootstrap(values, np.mean, seed)


def median_interval(values: Numbers, seed: int = 0) -> Interval:
    """Of the median, by the percentile bootstrap: a median has no smooth influence for BCa to correct by."""
    return bootstrap(values, np.median, seed, method="percentile")


def bootstrap(values: Numbers, statistic: Callable[..., Numbers], seed: int, method: str = "BCa") -> Interval:
    """Of any statistic of a sample, by resampling it; ``method`` is scipy's."""
    from scipy import stats

    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan)
    value = float(statistic(values))
    if len(values) == 1:
        return Interval(value, np.nan, np.nan)
    if np.ptp(values) <= 1e-12 * np.abs(values).max():  # equal but for rounding: BCa would divide zero by zero
        return Interval(value, value, value)
    found = stats.bootstrap(
        (values,),
        statistic,
        vectorized=True,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        method=method,
        rng=np.random.default_rng(seed),
        batch=max(1, 10_000_000 // len(values)),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))
