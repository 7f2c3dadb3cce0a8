"""Comparing methods on the same images: ranks, tests, and what survives correcting for many of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def image_ranks(table: Numbers, higher_is_better: bool) -> Numbers:
    """(methods, images) -> the same: each image's ranks of the methods, 1 being best, ties shared."""
    from scipy import stats

    return np.asarray(stats.rankdata(-table if higher_is_better else table, axis=0), np.float64)


def mean_ranks(table: Numbers, higher_is_better: bool) -> Numbers:
    """(methods, images) -> (methods,): the mean over images of each method's rank."""
    return np.asarray(image_ranks(table, higher_is_better).mean(1), np.float64)


def friedman(table: Numbers) -> float:
    """P-value of Friedman's test that no method differs from the others; NaN for fewer than three methods."""
    from scipy import stats

    methods, images = table.shape
    if methods < 3 or images < 2:
        return float("nan")
    if (table == table[0]).all():  # every image is a tie: nothing differs
        return 1.0
    return float(stats.friedmanchisquare(*table).pvalue)


def critical_difference(methods: int, images: int, alpha: float = 0.05) -> float:
    """Nemenyi's: mean ranks that differ by less are not told apart (Demšar 2006, equation 6)."""
    from scipy import stats

    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * images)))


def wilcoxon(first: Numbers, second: Numbers) -> float:
    """P-value of the two-sided signed-rank test of paired values; 1 where they are all equal."""
    from scipy import stats

    if len(first) == 0:
        return float("nan")
    differences = first - second
    if not differences.any():
        return 1.0
    # zeros are split between both sides (Pratt), since dropping them would overstate what is left
    return float(stats.wilcoxon(differences, zero_method="zsplit", method="approx", correction=True).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979); NaN stays NaN and does not count."""
    values = np.asarray(p, np.float64)
    known = np.flatnonzero(~np.isnan(values))
    corrected = values.copy()
    largest = 0.0
    for step, place in enumerate(known[np.argsort(values[known], kind="stable")]):
        largest = max(largest, min(1.0, values[place] * (len(known) - step)))
        corrected[place] = largest
    return [float(v) for v in corrected]


def rank_biserial(first: Numbers, second: Numbers) -> float:
    """Effect size of paired values in [-1, 1]: the share of signed-rank weight for ``first`` less that against it."""
    from scipy import stats

    differences = first - second
    differences = differences[differences != 0]
    if not len(differences):
        return 0.0
    ranks = stats.rankdata(np.abs(differences))
    return float((ranks[differences > 0].sum() - ranks[differences < 0].sum()) / ranks.sum())


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b of two rankings of the same methods; NaN where one of them ties all."""
    from scipy import stats

    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return float("nan")
    return float(stats.kendalltau(first, second).statistic)
