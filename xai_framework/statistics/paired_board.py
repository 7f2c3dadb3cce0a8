"""Paired comparisons of backbones as tables to take along."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from xai_framework.statistics.direction import better
from xai_framework.statistics.intervals import Interval
from xai_framework.statistics.long_table import csv_of
from xai_framework.statistics.paired import Pair, PairedComparison

_SIDES = ("first", "second", "difference")
_COLUMNS = (
    *("metric", "better", "backbone", "against", "target", "dataset", "method", "images", "common"),
    *(f"{side}{bound}" for side in _SIDES for bound in ("", "_low", "_high")),
    *("p", "effect", "apart"),
)
MARKS = "difference of means; * their 95 % intervals lie apart, ~ not told apart"


@dataclass(frozen=True)
class Summary:
    """Two backbones by all metrics: ``cells[method]`` are differences in the order of ``metrics``; see ``MARKS``."""

    where: str
    metrics: tuple[str, ...]
    cells: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class PairedBoard:
    """All paired comparisons of a run: one for each metric, pair of backbones, target and dataset."""

    comparisons: tuple[PairedComparison, ...]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row for each method and comparison, with plain numbers."""
        for c in self.comparisons:
            way = better(c.higher_is_better, c.judged)
            for p in c.pairs:
                bounds = [b for i in (p.first, p.second, p.difference) for b in (i.value, i.low, i.high)]
                place = (c.metric, way, c.backbone, c.against, c.target, c.dataset, p.label, p.images, p.common)
                yield dict(zip(_COLUMNS, (*place, *bounds, p.p, p.effect, p.apart), strict=True))

    def csv(self) -> str:
        """The rows as CSV."""
        return csv_of(_COLUMNS, self.rows())

    def markdown(self) -> str:
        """A table for each comparison, and what it comes to in words."""
        lines = []
        for c in self.comparisons:
            lines += [f"## {c.metric}: {c.where}\n", _line(heads(c)), _line(["---"] * len(heads(c)))]
            lines += [_line(cell.replace("|", "\\|") for cell in cells(p)) for p in c.pairs]
            lines += [f"\n{c.words}.\n"]
        return "\n".join(lines)

    def latex(self) -> str:
        """Tables in booktabs style."""
        lines = []
        for c in self.comparisons:
            columns = "l" + "r" * (len(heads(c)) - 1)
            lines += [f"% {c.metric}: {c.where}", f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
            lines += [" & ".join(map(_escaped, heads(c))) + " \\\\", "\\midrule"]
            lines += [" & ".join(map(_escaped, cells(p))) + " \\\\" for p in c.pairs]
            lines += ["\\bottomrule", "\\end{tabular}", f"% {c.words}\n"]
        return "\n".join(lines)

    def summaries(self) -> tuple[Summary, ...]:
        """One for each pair of backbones, target and dataset."""
        found: dict[str, list[PairedComparison]] = {}
        for c in self.comparisons:
            found.setdefault(c.where, []).append(c)
        return tuple(_summary(where, of) for where, of in found.items())


def heads(c: PairedComparison) -> list[str]:
    """The columns of :func:`cells`."""
    return ["method", c.backbone, c.against, "difference", "images", "p", "effect", "intervals"]


def cells(p: Pair) -> list[str]:
    """One method as texts: means with their intervals, the test, and whether the intervals lie apart."""
    shown = [_with_bounds(i) for i in (p.first, p.second, p.difference)]
    apart = ("apart" if p.apart else "overlap") if p.common > 1 else "-"
    return [p.label, *shown, f"{p.common}/{p.images}", _number(p.p), _number(p.effect), apart]


def _summary(where: str, of: list[PairedComparison]) -> Summary:
    pairs = {c.metric: {p.label: p for p in c.pairs} for c in of}
    labels = dict.fromkeys(p.label for c in of for p in c.pairs)
    return Summary(
        where,
        tuple(pairs),
        {label: tuple(_cell(by_label.get(label)) for by_label in pairs.values()) for label in labels},
    )


def _cell(p: Pair | None) -> str:
    if p is None or not p.common:
        return "-"
    mark = "" if p.distinguishable else "~"
    return f"{mark}{p.difference.value:+.2f}{'*' if p.apart else ''}"


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "_&%#$" else c for c in text)


def _with_bounds(interval: Interval) -> str:
    return f"{_number(interval.value)} [{_number(interval.low)}, {_number(interval.high)}]"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
