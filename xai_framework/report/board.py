"""The leaderboard of a page: numbers ready to be drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xai_framework.report.diagram import diagram_of
from xai_framework.statistics import Comparison, Standing

_WIDTH = 120.0
"""Of an interval's picture, in its own units."""


def board_of(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """What the template needs.

    ``places``: backbones and targets, ``tables``: one a comparison, ``ranks``: one table a place, methods by metrics,
    where there are several metrics.
    """
    places = list(dict.fromkeys(c.where for c in comparisons))
    metrics = list(dict.fromkeys(c.metric for c in comparisons))
    judged = [c for c in comparisons if c.judged]
    return {
        "places": places,
        "tables": [_table(c, places.index(c.where), is_open=c.metric in metrics[:3]) for c in comparisons],
        "ranks": [
            _ranks(here, n) for n, place in enumerate(places) if (here := [c for c in judged if c.where == place])
        ]
        if len({c.metric for c in judged}) > 1
        else [],
    }


def _table(c: Comparison, place: int, *, is_open: bool) -> dict[str, Any]:
    bounds = [v for s in c.standings for v in (s.mean.low, s.mean.high, s.mean.value) if math.isfinite(v)]
    low, high = (min(bounds), max(bounds)) if bounds else (0.0, 1.0)
    return {
        "metric": c.metric,
        "place": place,
        "open": is_open,
        "arrow": ("↑" if c.higher_is_better else "↓") if c.judged else "",
        "better": c.direction,
        "where": c.where,
        "common": c.common,
        "words": c.words,
        "friedman": _text(c.friedman),
        "critical": _text(c.critical_difference),
        "diagram": diagram_of([(s.label, s.rank) for s in c.ranked], c.critical_difference),
        "cost": _cost_of(c),
        "width": _WIDTH,
        "low": _text(low),
        "high": _text(high),
        "rows": [_row(s, low, high, best=i == 0) for i, s in enumerate(c.standings)],
    }


def _row(s: Standing, low: float, high: float, *, best: bool) -> dict[str, Any]:
    def place(value: float) -> float:
        return round(4 + (_WIDTH - 8) * (value - low) / (high - low), 2) if high > low else _WIDTH / 2

    known = all(map(math.isfinite, (s.mean.value, s.mean.low, s.mean.high)))
    return {
        "label": s.label,
        "control": s.control,
        "passes": "" if s.cost is None else f"{s.cost.passes:.4g}",
        "seconds": "" if s.cost is None else f"{s.cost.seconds:.2g}",
        "rank": _text(s.rank),
        "mean": _text(s.mean.value),
        "bounds": f"{_text(s.mean.low)} to {_text(s.mean.high)}" if known else "",
        "median": _text(s.median.value),
        "valid": s.valid,
        "images": s.images,
        "worst": _text(s.worst_case),
        "p": "" if best else _text(s.p),
        "alike": not best and not s.distinguishable and math.isfinite(s.p),
        "bar": {"from": place(s.mean.low), "to": place(s.mean.high), "at": place(s.mean.value)} if known else None,
    }


def _ranks(comparisons: Sequence[Comparison], place: int) -> dict[str, Any]:
    """Mean ranks of methods by metrics, those that do best over all metrics first."""
    metrics = [c.metric for c in comparisons]
    ranks = {c.metric: {s.label: s.rank for s in c.standings} for c in comparisons}
    labels = list(dict.fromkeys(s.label for c in comparisons for s in c.standings))
    controls = {s.label for c in comparisons for s in c.standings if s.control}
    rows = []
    for label in labels:
        mine = [ranks[m].get(label, math.nan) for m in metrics]
        known = [r for r in mine if math.isfinite(r)]
        mean = sum(known) / len(known) if known else math.inf
        cells = [{"text": _text(r), "shade": _shade(r, len(labels))} for r in mine]
        rows.append((mean, label, cells))
    ordered = [
        {"label": label, "control": label in controls, "cells": cells}
        for _, label, cells in sorted(rows, key=lambda row: row[:2])
    ]
    return {"metrics": metrics, "rows": ordered, "place": place, "where": comparisons[0].where}


def _cost_of(c: Comparison) -> dict[str, Any] | None:
    """Cost against quality: seconds an image, on a logarithmic scale, and the mean. None where it is not known."""
    known = [s for s in c.ranked if s.cost is not None and s.cost.seconds > 0 and math.isfinite(s.mean.value)]
    if len(known) < 3 or not c.judged:
        return None
    seconds = [math.log10(s.cost.seconds) for s in known if s.cost is not None]
    left, right = math.floor(min(seconds)), math.ceil(max(seconds))
    right = max(right, left + 1)
    values = [s.mean.value for s in known]
    low, high = min(values), max(values)
    sign = 1 if c.higher_is_better else -1
    frontier, best = set(), -math.inf
    for _, s in sorted(zip(seconds, known, strict=True), key=lambda pair: (pair[0], -sign * pair[1].mean.value)):
        if sign * s.mean.value > best:
            best = sign * s.mean.value
            frontier.add(s.label)
    points = [
        {
            "x": round(60 + 440 * (at - left) / (right - left), 1),
            "y": round(20 + 180 * ((high - s.mean.value) / (high - low) if high > low else 0.5), 1),
            "label": s.label,
            "frontier": s.label in frontier,
            "said": f"{s.label}: {s.cost.seconds if s.cost else 0:.2g} s an image, mean {_text(s.mean.value)}",
        }
        for at, s in zip(seconds, known, strict=True)
    ]
    ticks = [{"x": 60 + 440 * (k - left) / (right - left), "text": f"{10.0**k:g} s"} for k in range(left, right + 1)]
    return {"points": points, "ticks": ticks, "low": _text(low), "high": _text(high)}


def _shade(rank: float, methods: int) -> int:
    """0 (best) to 4 (worst)."""
    return min(4, int(5 * (rank - 1) / max(1, methods - 1))) if math.isfinite(rank) else 4


def _text(value: float) -> str:
    return f"{value:.3g}".replace("-", "−") if math.isfinite(value) else "–"
