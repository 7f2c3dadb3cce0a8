"""The same methods on two backbones, image by image: a trained network and its control, two checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xai_framework.core.errors import StoreError, did_you_mean
from xai_framework.statistics.compare import ALPHA, Numbers
from xai_framework.statistics.datasets import dataset_captions, dataset_key
from xai_framework.statistics.direction import is_judged
from xai_framework.statistics.intervals import Bounds, Interval, difference_interval, mean_interval
from xai_framework.statistics.ranks import holm, rank_biserial, wilcoxon
from xai_framework.store import Run, StoredValues

CONTROL = "-untrained"
"""What the planner adds to the name of a backbone whose weights were drawn anew."""


@dataclass(frozen=True)
class Pair:
    """One method on two backbones, over the ``common`` images of all ``images`` that have a value on both.

    ``first`` and ``second`` are the means there, ``difference`` the mean of first less second. ``p`` is Wilcoxon's,
    corrected by Holm for the number of methods; ``effect`` the rank-biserial correlation, positive where the first
    backbone's values are the larger ones.
    """

    label: str
    images: int
    common: int
    first: Interval
    second: Interval
    difference: Interval
    p: float
    effect: float

    @property
    def distinguishable(self) -> bool:
        """Whether the method tells the backbones apart."""
        return bool(self.p < ALPHA)

    @property
    def apart(self) -> bool:
        """Whether the intervals of the two means do not even touch: stricter than the paired test."""
        return self.first.low > self.second.high or self.second.low > self.first.high


@dataclass(frozen=True)
class PairedComparison:
    """One metric on two backbones, target and dataset; the methods in order of their difference, largest first."""

    metric: str
    backbone: str
    against: str
    target: str
    higher_is_better: bool
    pairs: tuple[Pair, ...]
    dataset: str = ""
    judged: bool = True

    @property
    def where(self) -> str:
        """What is compared, in words."""
        rest = [part for part in (self.target, self.dataset) if part]
        return ", ".join([f"{self.backbone} against {self.against}", *rest])

    @property
    def words(self) -> str:
        """The result in a sentence."""
        known = [p for p in self.pairs if p.common]
        if not known:
            return "no image has a value on both backbones: nothing can be compared"
        higher = [p.label for p in known if p.distinguishable and p.effect > 0]
        lower = [p.label for p in known if p.distinguishable and p.effect < 0]
        alike = [p.label for p in self.pairs if not p.distinguishable]
        said = [f"{way} by {', '.join(labels)}" for way, labels in (("higher", higher), ("lower", lower)) if labels]
        said += [f"not told apart by {', '.join(alike)}"] if alike else []
        return f"{self.metric} of {self.backbone} against {self.against}: {'; '.join(said)}"


def paired(
    first: Mapping[str, Numbers],
    second: Mapping[str, Numbers],
    *,
    metric: str,
    backbone: str,
    against: str,
    target: str = "",
    dataset: str = "",
    higher_is_better: bool = True,
    judged: bool = True,
    possible: Bounds = (-np.inf, np.inf),
) -> PairedComparison:
    """``first`` and ``second``: method -> one number an image, NaN where there is none, the same images in both.

    Methods that only one of them has are left out.
    """
    tables = {k: (np.asarray(first[k], np.float64), np.asarray(second[k], np.float64)) for k in first if k in second}
    known = {k: np.isfinite(a) & np.isfinite(b) for k, (a, b) in tables.items()}
    values = {k: (a[known[k]], b[known[k]]) for k, (a, b) in tables.items()}
    p = dict(zip(values, holm([wilcoxon(a, b) for a, b in values.values()]), strict=True))
    pairs = [
        Pair(
            label=k,
            images=len(known[k]),
            common=len(a),
            first=mean_interval(a, possible),
            second=mean_interval(b, possible),
            difference=difference_interval(a - b, possible),
            p=p[k],
            effect=rank_biserial(a, b) if len(a) else np.nan,
        )
        for k, (a, b) in values.items()
    ]
    # methods without a value come last
    pairs.sort(key=lambda pair: (not pair.common, -pair.difference.value if pair.common else 0.0, pair.label))
    return PairedComparison(metric, backbone, against, target, higher_is_better, tuple(pairs), dataset, judged)


def paired_comparisons(run: Run, against: str | None = None) -> tuple[PairedComparison, ...]:
    """A run's backbones, each against ``against``; without it, every backbone against its untrained control.

    Only values of the same images, target and metric are paired. Raises StoreError where the run has no metrics, or no
    other backbone than one of this name.
    """
    if not run.measures:
        raise StoreError("has no metrics", where=str(run.folder), fix="xai run ... metric=[deletion,gini]")
    names = list(dict.fromkeys(str(m.facts.get("backbone", "")) for m in run.measures))
    if against is not None and against not in names:
        raise StoreError(f"no backbone {against!r}", where=str(run.folder), fix=did_you_mean(against, names))
    if against is not None and len(names) == 1:
        fix = "xai run -m backbone=A,B ..., or untrained=false,true"
        raise StoreError(f"{against!r} is the only backbone", where=str(run.folder), fix=fix)
    pairs = [(n, against) for n in names if n != against] if against is not None else controls(names)
    groups: dict[tuple[str, str, str], dict[str, list[StoredValues]]] = {}
    for stored in run.measures:
        f = stored.facts
        key = (str(f["metric"]), str(f.get("target", "")), dataset_key(stored))
        groups.setdefault(key, {}).setdefault(str(f.get("backbone", "")), []).append(stored)
    captions = dataset_captions(run.measures)
    return tuple(
        paired(
            _by_label(of[first]),
            _by_label(of[second]),
            metric=metric,
            backbone=first,
            against=second,
            target=target,
            dataset=captions[dataset],
            higher_is_better=of[first][0].higher_is_better,
            judged=is_judged(of[first][0]),
            possible=of[first][0].range,
        )
        for (metric, target, dataset), of in groups.items()
        for first, second in pairs
        if first in of and second in of
    )


def controls(names: Sequence[str]) -> list[tuple[str, str]]:
    """(backbone, its untrained control) of every backbone that has one."""
    return [(plain, name) for name in names if CONTROL in name and (plain := name.replace(CONTROL, "", 1)) in names]


def _by_label(stored: Sequence[StoredValues]) -> dict[str, Numbers]:
    return {str(s.facts["label"]): s.numbers for s in stored}
