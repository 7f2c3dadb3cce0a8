"""One metric on one backbone and target: how the methods stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai_framework.statistics.intervals import Interval, mean_interval, median_interval
from xai_framework.statistics.ranks import critical_difference, friedman, holm, mean_ranks, rank_biserial, wilcoxon

ALPHA = 0.05

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """One method. ``valid`` of ``images`` have a value; ``mean``, ``median`` and ``rank`` are over the images that have
    one for all methods. ``worst_case`` is the mean over all images, those without a value counted as the worst value
    that any method has anywhere. ``p`` compares with the best method (Wilcoxon, corrected by Holm), ``effect`` is the
    rank-biserial correlation with it, negative where this one is worse; both NaN for the best itself.
    """

    label: str
    images: int
    valid: int
    mean: Interval
    median: Interval
    rank: float
    worst_case: float
    p: float
    effect: float

    @property
    def distinguishable(self) -> bool:
        """From the best method."""
        return bool(self.p < ALPHA)


@dataclass(frozen=True)
class Comparison:
    """All methods by one metric, best first. ``common`` images have a value for all of them.

    ``friedman`` is the p-value that no method differs; ``critical_difference`` that of Nemenyi between mean ranks.
    """

    metric: str
    backbone: str
    target: str
    higher_is_better: bool
    common: int
    standings: tuple[Standing, ...]
    friedman: float
    critical_difference: float
    dataset: str = ""

    @property
    def where(self) -> str:
        """Backbone, target, and the dataset where a run has several."""
        return ", ".join(part for part in (self.backbone, self.target, self.dataset) if part)

    @property
    def words(self) -> str:
        """The result in a sentence."""
        if not self.common:
            return "no image has a value for every method: nothing can be compared"
        best, *others = self.standings
        if not others:
            return f"only {best.label} was measured, on {self.common} images"
        alike = [s.label for s in others if not s.distinguishable]
        if not alike:
            return f"{best.label} is best, distinguishable from all others at n = {self.common}"
        if len(alike) == len(others):
            return f"no method is distinguishable from {best.label} at n = {self.common}"
        return f"{best.label} is best, not distinguishable from {', '.join(alike)} at n = {self.common}"


def compared(
    values: Mapping[str, Numbers],
    *,
    metric: str,
    backbone: str = "",
    target: str = "",
    dataset: str = "",
    higher_is_better: bool = True,
    seed: int = 0,
) -> Comparison:
    """``values``: method -> one number an image, NaN where there is none, all in the same order of images."""
    labels = list(values)
    table = np.stack([np.asarray(values[label], np.float64) for label in labels])
    known = np.isfinite(table)
    both = known.all(0)
    common = table[:, both]
    worst = _worst(table, known, higher_is_better)
    ranks = mean_ranks(common, higher_is_better) if both.any() else np.full(len(labels), np.nan)
    order = sorted(range(len(labels)), key=lambda i: (np.isnan(ranks[i]), ranks[i], labels[i]))
    best = order[0]
    against = holm([np.nan if i == best else wilcoxon(common[i], common[best]) for i in range(len(labels))])
    sign = 1.0 if higher_is_better else -1.0
    standings = tuple(
        Standing(
            label=labels[i],
            images=table.shape[1],
            valid=int(known[i].sum()),
            mean=mean_interval(common[i], seed),
            median=median_interval(common[i], seed),
            rank=float(ranks[i]),
            worst_case=float(np.where(known[i], table[i], worst).mean()) if table.shape[1] else float("nan"),
            p=against[i],
            effect=float("nan") if i == best else sign * rank_biserial(common[i], common[best]),
        )
        for i in order
    )
    several = len(labels) > 1 and both.any()
    return Comparison(
        metric=metric,
        backbone=backbone,
        target=target,
        higher_is_better=higher_is_better,
        common=int(both.sum()),
        standings=standings,
        friedman=friedman(common) if several else float("nan"),
        critical_difference=critical_difference(len(labels), int(both.sum())) if several else float("nan"),
        dataset=dataset,
    )


def _worst(table: Numbers, known: NDArray[np.bool_], higher_is_better: bool) -> float:
    if not known.any():
        return float("nan")
    return float(table[known].min() if higher_is_better else table[known].max())
