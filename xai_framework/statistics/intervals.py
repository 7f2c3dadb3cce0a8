"""Intervals of means, medians and shares. How often they hold the truth: ``python -m benchmarks.coverage``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95

Numbers = NDArray[np.float64]
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Interval:
    """A statistic with its 95 % confidence interval; NaN where there are no values, NaN bounds where there is one."""

    value: float
    low: float
    high: float


def mean_interval(values: Numbers, possible: Bounds = (-np.inf, np.inf)) -> Interval:
    """Of the mean: Wilson's of a share, else :func:`unskewed`, within what is ``possible``.

    Values are a share's where all are 0 or 1, unless they are all the same and could have been anything.
    """
    values = np.asarray(values, np.float64)
    bounded = possible[0] >= 0 and possible[1] <= 1
    if len(values) > 1 and np.isin(values, (0.0, 1.0)).all() and (bounded or values.min() < values.max()):
        low, high = wilson(int(values.sum()), len(values))
        return Interval(float(values.mean()), low, high)
    if len(values) < 2:
        return _without_bounds(values)
    low, high = (float(np.clip(bound[0], *possible)) for bound in unskewed(values[None]))
    return Interval(float(values.mean()), low, high)


def difference_interval(differences: Numbers, possible: Bounds = (-np.inf, np.inf)) -> Interval:
    """Of the mean of paired differences of values within what is ``possible``; those of 0 and 1 are no shares."""
    differences = np.asarray(differences, np.float64)
    if len(differences) < 2:
        return _without_bounds(differences)
    most = possible[1] - possible[0]
    low, high = (float(np.clip(bound[0], -most, most)) for bound in unskewed(differences[None]))
    return Interval(float(differences.mean()), low, high)


def median_interval(values: Numbers) -> Interval:
    """Of the median: :func:`order_statistics`, which holds whatever the distribution."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return _without_bounds(values)
    low, high = order_statistics(values[None])
    return Interval(float(np.median(values)), float(low[0]), float(high[0]))


def _without_bounds(values: Numbers) -> Interval:
    return Interval(float(values[0]) if len(values) else np.nan, np.nan, np.nan)


def wilson(count: int, n: int) -> Bounds:
    """The score interval of a share, ``count`` of ``n`` (Wilson 1927)."""
    from scipy import stats

    found = stats.binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def unskewed(samples: Numbers) -> tuple[Numbers, Numbers]:
    """(samples, n) -> lower and upper bounds (samples,) of each one's mean; n at least 2.

    Student's t of a skewed sample is skewed itself, so that its interval misses on one side. Hall's cubic
    transformation takes that out and can be inverted (Hall 1992, On the removal of skewness by transformation,
    equation 2.2), with the quantiles of Student's t: without skewness this is Student's interval. It covers better
    than the BCa bootstrap wherever values are skewed, above all with few images, and draws nothing.
    """
    from scipy import special

    n = samples.shape[1]
    middle = samples.mean(1)
    deviations = samples - middle[:, None]
    spread = deviations.std(1)
    varies = spread > 1e-14 * np.abs(samples).max(1)  # else what is left is rounding
    skewness = (deviations**3).mean(1) / np.where(varies, spread, 1.0) ** 3
    slope = skewness / np.sqrt(n)
    error = np.where(varies, spread / np.sqrt(n - 1), 0.0)
    t = float(special.stdtrit(n - 1, (1 + LEVEL) / 2))
    return middle - _inverse(t, slope) * error, middle - _inverse(-t, slope) * error


def _inverse(t: float, slope: Numbers) -> Numbers:
    """What Hall's transformation makes t: x + slope x^2 / 3 + slope^2 x^3 / 27 + slope / 6 = t, solved for x."""
    skewed = np.abs(slope) > 1e-6
    safe = np.where(skewed, slope, 1.0)
    return np.where(skewed, 3 / safe * (np.cbrt(1 + safe * (t - safe / 6)) - 1), t)


def order_statistics(samples: Numbers) -> tuple[Numbers, Numbers]:
    """(samples, n) -> lower and upper bounds (samples,) of each one's median; n at least 2.

    The k-th smallest and largest value hold the median with a probability that is binomial whatever the distribution;
    between the two k's next to 95 % is interpolated (Hettmansperger & Sheather 1986, equation 2.1). Fewer than six
    values never reach 95 %: then from the smallest to the largest.
    """
    from scipy import stats

    ordered = np.sort(samples, axis=1)
    n = ordered.shape[1]
    held = 1 - 2 * stats.binom.cdf(np.arange(n // 2), n, 0.5)  # from the (k+1)-th smallest to the (k+1)-th largest
    k = int((held >= LEVEL).sum()) - 1  # the narrowest that holds enough
    if k < 0:
        return ordered[:, 0], ordered[:, -1]
    share = 0.0
    if k + 1 < len(held):
        excess = (held[k] - LEVEL) / (held[k] - held[k + 1])
        share = (n - k - 1) * excess / (k + 1 + (n - 2 * (k + 1)) * excess)
    low = (1 - share) * ordered[:, k] + share * ordered[:, k + 1]
    high = (1 - share) * ordered[:, n - 1 - k] + share * ordered[:, n - 2 - k]
    return low, high
