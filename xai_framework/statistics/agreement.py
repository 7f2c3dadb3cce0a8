"""Do metrics rank the methods alike? What one calls good may be what another calls bad."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from xai_framework.statistics.compare import Comparison
from xai_framework.statistics.ranks import rank_correlation


@dataclass(frozen=True)
class Pair:
    """Two metrics. ``tau`` is Kendall's tau-b between their rankings of ``methods`` methods, 1 where they agree wholly,
    the mean over ``rankings`` backbones and targets; NaN where there is none. ``chance`` is how far from 0 a single tau
    of unrelated rankings lies in 5 % of cases.
    """

    first: str
    second: str
    tau: float
    methods: int
    rankings: int
    chance: float

    @property
    def contradicts(self) -> bool:
        """Whether one ranks high what the other ranks low, beyond chance."""
        return self.tau <= 1e-9 - self.chance


@dataclass(frozen=True)
class Agreement:
    """Of all metrics of a run, in their order; controls do not count, as nearly all metrics agree on them."""

    metrics: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def tau(self, first: str, second: str) -> float:
        """Of two metrics, in either order; 1 for a metric and itself, NaN where there is none."""
        if first == second:
            return 1.0
        return next((p.tau for p in self.pairs if {p.first, p.second} == {first, second}), math.nan)

    @property
    def words(self) -> str:
        """Which metrics contradict each other."""
        known = [p for p in self.pairs if not math.isnan(p.tau)]
        if not known:
            return "agreement needs two metrics that judge the same methods, two methods at least"
        said = [
            f"{p.first} and {p.second} contradict each other (tau {p.tau:.2f}, {p.methods} methods): no method is good "
            "by both"
            for p in sorted(known, key=lambda p: p.tau)
            if p.contradicts
        ]
        against = [f"{p.first} and {p.second} ({p.tau:.2f})" for p in known if p.tau < 0 and not p.contradicts]
        if against:
            said.append(f"against each other, though no more than chance can make them: {', '.join(against)}")
        return "; ".join(said) or "no two metrics rank the methods against each other"


def agreement(comparisons: Sequence[Comparison]) -> Agreement:
    """Rank correlations of all pairs of metrics that judged the same methods; of those that judge at all."""
    comparisons = [c for c in comparisons if c.judged]
    metrics = tuple(dict.fromkeys(c.metric for c in comparisons))
    return Agreement(metrics, tuple(_pair(a, b, comparisons) for a, b in combinations(metrics, 2)))


def _pair(first: str, second: str, comparisons: Sequence[Comparison]) -> Pair:
    taus, counts = [], []
    for a in comparisons:
        for b in comparisons:
            if (a.metric, b.metric) == (first, second) and a.where == b.where:
                ranks = [{s.label: s.rank for s in c.ranked if not s.control} for c in (a, b)]
                shared = sorted(ranks[0].keys() & ranks[1].keys())
                tau = rank_correlation(*([r[label] for label in shared] for r in ranks))
                if not math.isnan(tau):
                    taus.append(tau)
                    counts.append(len(shared))
    methods = min(counts, default=0)
    tau = float(np.mean(taus)) if taus else math.nan
    return Pair(first, second, tau, methods, len(taus), chance(methods))


def chance(methods: int) -> float:
    """The smallest tau that unrelated rankings of so many methods exceed, on either side, in at most 5 % of cases; 2
    where none is that rare, with four methods or fewer.
    """
    pairs = methods * (methods - 1) // 2
    # how many orders have k pairs in the wrong order: those of one method fewer, with the last put in any place
    counts = [1]
    for n in range(2, methods + 1):
        counts = [sum(counts[max(0, k - n + 1) : k + 1]) for k in range(len(counts) + n - 1)]
    total, below = sum(counts), 0
    rare = 2.0
    for k, count in enumerate(counts[: pairs // 2]):
        below += count
        if 2 * below > 0.05 * total:
            break
        rare = 1 - 2 * k / pairs
    return rare
