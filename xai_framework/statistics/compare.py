"""One metric on one backbone and target: how the methods stand."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from xai_framework.statistics.direction import direction
from xai_framework.statistics.intervals import Bounds, Interval, mean_interval, median_interval
from xai_framework.statistics.ranks import critical_difference, friedman, holm, mean_ranks, rank_biserial, wilcoxon
from xai_framework.store import Cost

ALPHA = 0.05

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """One method. ``valid`` of ``images`` have a value; ``mean``, ``median`` and ``rank`` are over the images that have
    one for all methods. ``worst_case`` is the mean over all images, those without a value counted as the worst value
    that any method has anywhere. ``p`` compares with the best method (Wilcoxon, corrected by Holm), ``effect`` is the
    rank-biserial correlation with it, negative where this one is worse; both NaN for the best itself.

    ``control``: it knows nothing of the model. Of any other method ``like`` are the controls that it is not told apart
    from, ``below`` those that do better (Wilcoxon, corrected by Holm over all pairs of a method and a control).
    ``cost`` is what its maps took, None where that is not known.
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
    control: bool = False
    like: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    cost: Cost | None = None

    @property
    def distinguishable(self) -> bool:
        """From the best method."""
        return bool(self.p < ALPHA)


@dataclass(frozen=True)
class Comparison:
    """All methods by one metric, best first. ``common`` images have a value for all of them.

    Where values are not ``judged``, highest first: no method is called best.

    ``friedman`` is the p-value that no method differs; ``critical_difference`` that of Nemenyi between mean ranks.
    ``table`` are the values they are computed of, (methods, common images) in the order of ``ranked``. Methods without
    any value stand last and are not compared.
    """

    metric: str
    backbone: str
    target: str
    higher_is_better: bool
    common: int
    standings: tuple[Standing, ...]
    friedman: float
    critical_difference: float
    table: Numbers = field(repr=False, compare=False)
    dataset: str = ""
    judged: bool = True

    @property
    def direction(self) -> str:
        """Where good is, in words."""
        return direction(self.higher_is_better, self.judged)

    @property
    def where(self) -> str:
        """Backbone, target, and the dataset where a run has several."""
        return ", ".join(part for part in (self.backbone, self.target, self.dataset) if part)

    @property
    def words(self) -> str:
        """The result in a sentence."""
        if not self.common:
            return "no image has a value for every method: nothing can be compared"
        never = [s.label for s in self.standings if not s.valid]
        lacking = f"{_listed(never)} {'have' if len(never) > 1 else 'has'} no value" if never else ""
        return "; ".join(filter(None, (self._first_words(), self.control_words, lacking)))

    @property
    def ranked(self) -> tuple[Standing, ...]:
        """Those that are compared: they have a value for at least one image. All, where none has."""
        return tuple(s for s in self.standings if s.valid) or self.standings

    @property
    def control_words(self) -> str:
        """What the controls say of the methods; empty without controls or methods, or where no control comes near."""
        if not self.common:
            return ""
        methods = [s.label for s in self.ranked if not s.control]
        like, below = ({s.label: getattr(s, name) for s in self.standings} for name in ("like", "below"))
        said = [
            *(_not_told_apart(found, methods, controls) for found, controls in _by_methods(like, self.standings)),
            *(_worse(found, methods, controls, self._less) for found, controls in _by_methods(below, self.standings)),
        ]
        return "; ".join(said) + (f" at n = {self.common}" if said else "")

    @property
    def _less(self) -> str:
        return "worse" if self.judged else "lower"

    def _first_words(self) -> str:
        best, *others = self.ranked
        if not others:
            return f"only {best.label} was measured, on {self.common} images"
        alike = [s.label for s in others if not s.distinguishable]
        first = f"{best.label} is {'best' if self.judged else 'highest'}"
        if not alike:
            return f"{first}, distinguishable from all others at n = {self.common}"
        if len(alike) == len(others):
            return f"no method is distinguishable from {best.label} at n = {self.common}"
        return f"{first}, not distinguishable from {', '.join(alike)} at n = {self.common}"


def compared(
    values: Mapping[str, Numbers],
    *,
    metric: str,
    backbone: str = "",
    target: str = "",
    dataset: str = "",
    higher_is_better: bool = True,
    judged: bool = True,
    possible: Bounds = (-np.inf, np.inf),
    controls: Collection[str] = (),
    costs: Mapping[str, Cost | None] = MappingProxyType({}),
) -> Comparison:
    """``values``: method -> one number an image, NaN where there is none, all in the same order of images.

    ``possible`` is the metric's range, which intervals do not leave; ``controls`` are those of the methods that know
    nothing of the model, ``costs`` what each method's maps took.
    """
    labels = [label for label, numbers in values.items() if np.isfinite(numbers).any()] or list(values)
    never = [label for label in values if label not in labels]  # cannot be compared, and must not keep others from it
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
    like, below = _against_controls(labels, sign * common, controls)
    standings = tuple(
        Standing(
            label=labels[i],
            images=table.shape[1],
            valid=int(known[i].sum()),
            mean=mean_interval(common[i], possible),
            median=median_interval(common[i]),
            rank=float(ranks[i]),
            worst_case=float(np.where(known[i], table[i], worst).mean()) if table.shape[1] else float("nan"),
            p=against[i],
            effect=float("nan") if i == best else sign * rank_biserial(common[i], common[best]),
            control=labels[i] in controls,
            like=like.get(labels[i], ()),
            below=below.get(labels[i], ()),
            cost=costs.get(labels[i]),
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
        standings=(*standings, *(_unranked(s, table.shape[1], s in controls, costs.get(s)) for s in never)),
        friedman=friedman(common) if several else float("nan"),
        critical_difference=critical_difference(len(labels), int(both.sum())) if several else float("nan"),
        table=common[order],
        dataset=dataset,
        judged=judged,
    )


def _unranked(label: str, images: int, control: bool, cost: Cost | None) -> Standing:
    """A method without any value."""
    nan = float("nan")
    nothing = Interval(nan, nan, nan)
    return Standing(label, images, 0, nothing, nothing, nan, nan, nan, nan, control=control, cost=cost)


def _against_controls(
    labels: Sequence[str], table: Numbers, controls: Collection[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Method -> the controls that it is not told apart from, and those that do better. ``table``: higher is better."""
    if not table.shape[1]:
        return {}, {}
    row = dict(zip(labels, table, strict=True))
    pairs = [(m, c) for m in labels if m not in controls for c in labels if c in controls]
    p = holm([wilcoxon(row[m], row[c]) for m, c in pairs])
    like: dict[str, tuple[str, ...]] = {}
    below: dict[str, tuple[str, ...]] = {}
    for (method, control), value in zip(pairs, p, strict=True):
        if not value < ALPHA:
            like[method] = (*like.get(method, ()), control)
        elif rank_biserial(row[method], row[control]) < 0:
            below[method] = (*below.get(method, ()), control)
    return like, below


def _by_methods(
    of: Mapping[str, tuple[str, ...]], standings: Sequence[Standing]
) -> Iterator[tuple[list[str], list[str]]]:
    """(methods, controls) of which each control is in ``of`` each method; the same methods are said once."""
    found: dict[tuple[str, ...], list[str]] = {}
    for control in (s.label for s in standings if s.control):
        if methods := tuple(s.label for s in standings if control in of[s.label]):
            found.setdefault(methods, []).append(control)
    return ((list(methods), controls) for methods, controls in found.items())


def _not_told_apart(found: Sequence[str], methods: Sequence[str], controls: Sequence[str]) -> str:
    """In the shortest words, as nearly all methods may be no better than a control."""
    others = [m for m in methods if m not in found]
    if not others and len(methods) > 1:
        return f"no method is distinguishable from {_the_controls(controls)}"
    if len(others) < len(found) and others:
        return f"only {_listed(others)} {_is(others)} distinguishable from {_the_controls(controls)}"
    return f"{_listed(found)} {_is(found)} not distinguishable from {_the_controls(controls)}"


def _worse(found: Sequence[str], methods: Sequence[str], controls: Sequence[str], less: str) -> str:
    if len(found) == len(methods) > 1:
        return f"every method is {less} than {_the_controls(controls)}"
    return f"{_listed(found)} {_is(found)} {less} than {_the_controls(controls)}"


def _the_controls(labels: Sequence[str]) -> str:
    return f"the control{'s' if len(labels) > 1 else ''} {_listed(labels)}"


def _is(labels: Sequence[str]) -> str:
    return "are" if len(labels) > 1 else "is"


def _listed(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _worst(table: Numbers, known: NDArray[np.bool_], higher_is_better: bool) -> float:
    if not known.any():
        return float("nan")
    return float(table[known].min() if higher_is_better else table[known].max())
