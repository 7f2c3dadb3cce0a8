"""A run's metrics as comparisons, and as tables to take along."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xai_framework.core.errors import StoreError
from xai_framework.statistics.agreement import Agreement, agreement
from xai_framework.statistics.compare import Comparison, Standing, compared
from xai_framework.statistics.datasets import dataset_captions, dataset_key
from xai_framework.statistics.direction import better, is_judged
from xai_framework.statistics.intervals import Interval
from xai_framework.statistics.long_table import csv_of
from xai_framework.statistics.notebook import html_of
from xai_framework.statistics.stability import Place
from xai_framework.store import Cost, Run, StoredValues

_COLUMNS = (
    *("metric", "better", "backbone", "target", "method", "control", "rank", "mean", "mean_low", "mean_high"),
    *("median", "median_low", "median_high", "common", "valid", "images", "worst_case", "p", "effect"),
    *("forward", "backward", "passes", "seconds", "dataset"),
)


@dataclass(frozen=True)
class Leaderboard:
    """All comparisons of a run: one for each metric, backbone and target."""

    comparisons: tuple[Comparison, ...]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row for each method and comparison, with plain numbers."""
        for c in self.comparisons:
            for s in c.standings:
                way = better(c.higher_is_better, c.judged)
                place = (c.metric, way, c.backbone, c.target, s.label, s.control, s.rank)
                values = (*_bounds(s.mean), *_bounds(s.median), c.common, s.valid, s.images)
                rest = (s.worst_case, s.p, s.effect, *_costs(s.cost), c.dataset)
                yield dict(zip(_COLUMNS, (*place, *values, *rest), strict=True))

    def csv(self) -> str:
        """The rows as CSV."""
        return csv_of(_COLUMNS, self.rows())

    def markdown(self) -> str:
        """A table for each comparison, and what it comes to in words."""
        return "\n".join(
            _table(c, _markdown_row, head=_MARKDOWN_HEAD, title="## {}\n", foot="\n{}\n") for c in self.comparisons
        )

    def _repr_html_(self) -> str:
        """In a notebook."""
        return html_of(self.comparisons)

    def latex(self) -> str:
        """Tables in booktabs style."""
        return "\n".join(
            _table(c, _latex_row, head=_LATEX_HEAD, title="% {}", foot="\\bottomrule\n\\end{{tabular}}\n% {}\n")
            for c in self.comparisons
        )

    def agreement(self) -> Agreement:
        """Whether its metrics rank the methods alike."""
        return agreement(self.comparisons)


def leaderboard(run: Run) -> Leaderboard:
    """Compare a run's methods by each of its metrics.

    Raises StoreError where the run has no metrics.
    """
    if not run.measures:
        raise StoreError("has no metrics", where=str(run.folder), fix="xai run ... metric=[deletion,gini]")
    groups: dict[tuple[str, str, str, str], list[StoredValues]] = {}
    for stored in run.measures:
        f = stored.facts
        key = (
            f["metric"],
            str(f.get("backbone", "")),
            str(f.get("target", "")),
            dataset_key(stored),
        )
        groups.setdefault(key, []).append(stored)
    costs = {_key(maps.facts): maps.cost for maps in run.cells}
    comparisons = []
    captions = dataset_captions(run.measures)
    for (metric, backbone, target, dataset), found in groups.items():
        values = {str(s.facts["label"]): s.numbers for s in found}
        comparisons.append(
            compared(
                values,
                metric=metric,
                backbone=backbone,
                target=target,
                dataset=captions[dataset],
                higher_is_better=found[0].higher_is_better,
                judged=is_judged(found[0]),
                possible=found[0].range,
                costs={str(s.facts["label"]): costs.get(_key(s.facts)) for s in found},
                controls={str(s.facts["label"]) for s in found if s.facts.get("control")},
            )
        )
    return Leaderboard(tuple(comparisons))


def _key(facts: Mapping[str, Any]) -> str:
    """What a metric and the maps that it judges have in common."""
    return repr([facts.get(name) for name in ("label", "backbone", "target", "method", "dataset")])


def _costs(cost: Cost | None) -> tuple[float, float, float, float]:
    if cost is None:
        return (math.nan,) * 4
    return cost.forward, cost.backward, cost.passes, cost.seconds


def _bounds(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


_MARKDOWN_HEAD = (
    "| method | mean rank | mean [95 % CI] | median [95 % CI] | valid | worst case | p vs best | effect "
    "| passes | seconds |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
_LATEX_HEAD = (
    "\\begin{tabular}{lrrrrr}\n\\toprule\n"
    "method & mean rank & mean [95\\,\\% CI] & median & valid & $p$ \\\\\n\\midrule"
)


def _table(c: Comparison, row: Callable[[Standing], str], *, head: str, title: str, foot: str) -> str:
    said = f"{c.metric} ({c.direction}): {c.where}, {c.common} images with a value for every method"
    lines = [title.format(said), head, *map(row, c.standings), foot.format(c.words + _tests(c))]
    return "\n".join(lines)


def _tests(c: Comparison) -> str:
    if math.isnan(c.friedman):
        return "."
    closer = f"mean ranks closer than {c.critical_difference:.2f} (Nemenyi) do not differ"
    return f". Friedman p = {_number(c.friedman)}; {closer}."


def name_of(s: Standing | Place) -> str:
    """How a method is called in tables: controls are marked."""
    return f"{s.label} (control)" if s.control else s.label


def _markdown_row(s: Standing) -> str:
    cells = (name_of(s).replace("|", "\\|"), _rank(s.rank), _with_bounds(s.mean), _with_bounds(s.median))
    numbers = (s.worst_case, s.p, s.effect, *_costs(s.cost)[2:])
    rest = (f"{s.valid}/{s.images}", *map(_number, numbers))
    return f"| {' | '.join((*cells, *rest))} |"


def _latex_row(s: Standing) -> str:
    label = "".join(f"\\{c}" if c in "_&%#$" else c for c in name_of(s))
    cells = (
        label,
        _rank(s.rank),
        _with_bounds(s.mean),
        _number(s.median.value),
        f"{s.valid}/{s.images}",
        _number(s.p),
    )
    return " & ".join(cells) + " \\\\"


def _with_bounds(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{_number(interval.value)} [{_number(interval.low)}, {_number(interval.high)}]"


def _rank(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def shown(comparisons: Sequence[Comparison]) -> str:
    """The words of all comparisons, one a line."""
    return "\n".join(f"{c.metric} on {c.backbone}, {c.target}: {c.words}" for c in comparisons)
