"""What changed from one run to another: maps, predictions and metrics, image by image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.status import Status
from xai_framework.statistics.compare import ALPHA
from xai_framework.statistics.direction import is_judged
from xai_framework.statistics.intervals import Interval, difference_interval
from xai_framework.statistics.likeness import SAME, Likeness, likeness
from xai_framework.statistics.pairs import backbones_of, name_of, paired, parameters_that_differ
from xai_framework.statistics.ranks import holm, rank_biserial, wilcoxon
from xai_framework.store import Run, StoredMaps, StoredRow, StoredValues

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Of a number over ``n`` images; NaN where there is none."""

    n: int
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Values that are not finite are left out."""
        known = np.asarray([v for v in values if math.isfinite(v)])
        if not len(known):
            return cls(0, math.nan, math.nan, math.nan)
        return cls(len(known), float(np.median(known)), float(known.min()), float(known.max()))


@dataclass(frozen=True)
class ChangedRow:
    """One image whose map changed. ``places`` are its rows in A and in B; the texts are (in A, in B)."""

    id: str
    places: tuple[int, int]
    likeness: Likeness
    explained: tuple[str, str]
    prediction: tuple[str, str]

    @property
    def order(self) -> float:
        """The smaller, the more it changed: the rank correlation, or what comes nearest to it."""
        known = [v for v in (self.likeness.spearman, self.likeness.cosine) if math.isfinite(v)]
        return known[0] if known else -2.0


@dataclass(frozen=True)
class MapChanges:
    """Rows are matched by image id and content. ``other_picture`` have the id in common, not the picture.

    ``identical`` have the same bytes and status. Of those ``changed``, ``compared`` have a map with evidence in both;
    the others are counted in ``status``. The spreads are over all rows in both with such maps, identical ones too.
    """

    both: int
    only_first: int
    only_second: int
    other_picture: int
    identical: int
    compared: int
    status: Mapping[str, int]
    spearman: Spread
    cosine: Spread
    largest: Spread
    predictions: int
    explained: int
    most_changed: tuple[ChangedRow, ...]

    @property
    def changed(self) -> int:
        """Rows in both that are not identical."""
        return self.both - self.identical

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        rows = self.only_first + self.only_second + self.other_picture + self.changed
        return bool(rows or self.predictions or self.explained)


@dataclass(frozen=True)
class MetricChange:
    """One metric in both: means over the ``n`` images that have a value in both, and B less A.

    ``p`` is Wilcoxon's, corrected by Holm over the methods; ``effect`` the rank-biserial correlation, positive where B
    is better. ``identical``: no value changed, and none came or went.
    """

    metric: str
    higher_is_better: bool
    n: int
    first: float
    second: float
    difference: Interval
    p: float
    effect: float
    identical: bool
    judged: bool = True

    @property
    def words(self) -> str:
        """The result in a sentence."""
        if self.identical:
            return f"the same at n = {self.n}"
        if not self.n:
            return "no image has a value in both"
        if not self.p < ALPHA:
            return f"not distinguishable at n = {self.n}"
        if not self.judged:
            return f"B is {'higher' if self.difference.value > 0 else 'lower'} at n = {self.n}"
        return f"B is {'better' if self.effect > 0 else 'worse'} at n = {self.n}"


@dataclass(frozen=True)
class PairChanges:
    """Two cells and what changed from one to the other."""

    first: StoredMaps
    second: StoredMaps
    maps: MapChanges
    metrics: tuple[MetricChange, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``gradcam (shapes_vgg, predicted)``, with an arrow where the two are called differently."""
        a, b = name_of(self.first), name_of(self.second)
        return a if a == b else f"{a} -> {b}"

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return self.maps.differs or not all(m.identical for m in self.metrics)


@dataclass(frozen=True)
class RunChanges:
    """Everything of two runs. ``left`` are (A or B, name of a cell, why it has no partner)."""

    pairs: tuple[PairChanges, ...]
    left: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def differs(self) -> bool:
        """Whether anything does, cells that only one of them has included."""
        return bool(self.left) or any(p.differs for p in self.pairs)


def run_changes(first: Run, second: Run, *, backbones: Mapping[str, str] | None = None, most: int = 5) -> RunChanges:
    """All cells of two runs that belong together; ``backbones`` pairs those of other names, and only those.

    ``most`` rows are listed a pair. Reads one row of each file at a time. Raises ConfigError for a backbone that is not
    there, StoreError for damaged files.
    """
    known = backbones_of(first.cells, second.cells, backbones)
    maps = paired(first.cells, second.cells, known, only=bool(backbones))
    values = paired(first.measures, second.measures, known, only=bool(backbones))
    notes = [f"backbone {a} of A is compared with {b} of B" for a, b in known.items() if a != b]
    pairs = [_pair(a, b, [v for v in values.pairs if _key(v[0]) == _key(a)], most) for a, b in maps.pairs]
    # what is not there has no metrics either, and that is told once
    shared = {_key(cell) for pair in maps.pairs for cell in pair}
    alone = [v for v in values.left if _key(v[1]) in shared]
    left = tuple((side, name_of(cell), why) for side, cell, why in (*maps.left, *alone))
    return RunChanges(_corrected(pairs), left, tuple(notes))


def cell_changes(
    first: StoredMaps,
    second: StoredMaps,
    measures: tuple[Sequence[StoredValues], Sequence[StoredValues]] = ((), ()),
    *,
    most: int = 5,
) -> RunChanges:
    """Two cells, whatever they are called; ``measures`` are those of the first and of the second."""
    there = {str(v.facts["metric"]): v for v in measures[1]}
    both = [(v, there[m]) for v in measures[0] if (m := str(v.facts["metric"])) in there]
    shared = {str(v.facts["metric"]) for v, _ in both}
    why = "the other cell was not measured by it"
    left = [(side, name_of(v), why) for side, m in zip("AB", measures, strict=True) for v in m
            if str(v.facts["metric"]) not in shared]  # fmt: skip
    return RunChanges(_corrected([_pair(first, second, both, most)]), tuple(left))


def _pair(a: StoredMaps, b: StoredMaps, values: Sequence[tuple[StoredValues, StoredValues]], most: int) -> PairChanges:
    notes = []
    for what in ("method", "dataset"):
        if said := parameters_that_differ(a.facts.get(what, {}), b.facts.get(what, {})):
            notes.append(f"{what}: {said}")
    metrics = []
    for first, second in values:
        said = parameters_that_differ(first.facts.get("measure", {}), second.facts.get("measure", {}))
        if said:
            notes.append(f"{first.facts['metric']} is measured differently, not compared: {said}")
        else:
            metrics.append(metric_change(first, second))
    return PairChanges(a, b, map_changes(a, b, most), tuple(metrics), tuple(notes))


def _key(cell: StoredMaps) -> tuple[str, ...]:
    """What maps and what metrics say of them have in common."""
    return tuple(repr(cell.facts.get(k)) for k in ("label", "backbone", "target", "dataset"))


def _corrected(pairs: Sequence[PairChanges]) -> tuple[PairChanges, ...]:
    """P-values of one metric, backbone and target are corrected for the number of methods."""
    groups: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    for i, pair in enumerate(pairs):
        for k, change in enumerate(pair.metrics):
            facts = (pair.first.facts.get("backbone"), pair.first.facts.get("target"))
            groups.setdefault((change.metric, *facts), []).append((i, k))
    metrics = [list(p.metrics) for p in pairs]
    for places in groups.values():
        for (i, k), p in zip(places, holm([metrics[i][k].p for i, k in places]), strict=True):
            metrics[i][k] = replace(metrics[i][k], p=p)
    return tuple(replace(p, metrics=tuple(m)) for p, m in zip(pairs, metrics, strict=True))


def map_changes(first: StoredMaps, second: StoredMaps, most: int = 5) -> MapChanges:
    """Row by row; what is kept of a row are three numbers."""
    a, b = first.file, second.file
    there = {key: i for i, key in enumerate(b.keys)}
    shared = [(i, there[key]) for i, key in enumerate(a.keys) if key in there]
    ids, theirs = set(a.ids), set(b.ids)
    other = len(ids & theirs) - len(shared)
    same_file = first.path.resolve() == second.path.resolve()
    found, status, listed = [], Counter[str](), list[ChangedRow]()
    identical = predictions = explained = compared = 0
    for i, j in shared:
        one, two = a.row(i), b.row(j)
        same = same_file or _same(one, two)
        identical += same
        predictions += one.prediction_name != two.prediction_name or one.prediction != two.prediction
        explained += one.target_name != two.target_name or one.target != two.target
        if one.status != Status.ok or two.status != Status.ok:
            if not same:
                status[f"{one.status.name} -> {two.status.name}"] += 1
            continue
        alike = SAME if same else likeness(one.attribution, two.attribution)
        found.append(alike)
        if not same:
            compared += 1
            listed = _kept(listed, _changed_row(one, two, (i, j), alike), most)
    return MapChanges(
        both=len(shared),
        only_first=len(ids - theirs),
        only_second=len(theirs - ids),
        other_picture=other,
        identical=identical,
        compared=compared,
        status=dict(status),
        spearman=Spread.of([f.spearman for f in found]),
        cosine=Spread.of([f.cosine for f in found]),
        largest=Spread.of([f.largest for f in found]),
        predictions=predictions,
        explained=explained,
        most_changed=tuple(listed),
    )


def _same(one: StoredRow, two: StoredRow) -> bool:
    """The same bytes: minus zero is not zero, and a NaN is itself."""
    a, b = one.attribution, two.attribution
    return one.status == two.status and a.shape == b.shape and a.tobytes() == b.tobytes()


def _changed_row(one: StoredRow, two: StoredRow, places: tuple[int, int], alike: Likeness) -> ChangedRow:
    explained = (one.target_name, two.target_name)
    return ChangedRow(one.id, places, alike, explained, (one.prediction_name, two.prediction_name))


def _kept(listed: list[ChangedRow], row: ChangedRow, most: int) -> list[ChangedRow]:
    return sorted([*listed, row], key=lambda r: r.order)[:most]


def metric_change(first: StoredValues, second: StoredValues) -> MetricChange:
    """One metric of two cells, on the images (by id and content) that have a value in both; ``p`` as it is alone."""
    places = {key: i for i, key in enumerate(second.file.keys)}
    shared = [(i, places[key]) for i, key in enumerate(first.file.keys) if key in places]
    a = first.numbers[[i for i, _ in shared]] if shared else np.zeros(0)
    b = second.numbers[[j for _, j in shared]] if shared else np.zeros(0)
    whole = len(shared) == len(first.file) == len(second.file)
    known = np.isfinite(a) & np.isfinite(b)
    x, y = a[known], b[known]
    sign = 1.0 if first.higher_is_better else -1.0
    return MetricChange(
        metric=str(first.facts["metric"]),
        higher_is_better=first.higher_is_better,
        n=len(x),
        first=float(x.mean()) if len(x) else math.nan,
        second=float(y.mean()) if len(y) else math.nan,
        difference=difference_interval(y - x, first.range),
        p=wilcoxon(y, x),
        effect=sign * rank_biserial(y, x) if len(x) else math.nan,
        identical=whole and np.array_equal(a, b, equal_nan=True),
        judged=is_judged(first),
    )
