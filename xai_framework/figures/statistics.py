"""Leaderboards and critical-difference diagrams: which comparisons they show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xai_framework.core.errors import ConfigError
from xai_framework.figures.critical_difference import draw_critical_differences
from xai_framework.figures.gather import in_order, one_of
from xai_framework.figures.leaderboard import draw_leaderboard
from xai_framework.figures.look import Look
from xai_framework.figures.paper import Paper
from xai_framework.statistics import Comparison, leaderboard
from xai_framework.store import Run

STATISTICS = ("leaderboard", "critical-difference")


def draw_statistics(
    run: Run,
    layout: str,
    look: Look,
    *,
    methods: Sequence[str] | None,
    backbone: str | None,
    target: str | None,
    metrics: Sequence[str] | None,
) -> tuple[Paper, list[str]]:
    """The figure and its notes. Raises ConfigError for what the run does not hold, StoreError without metrics."""
    found = chosen(run, methods=methods, backbone=backbone, target=target, metrics=metrics)
    if layout == "leaderboard":
        return draw_leaderboard(found, look), _notes(found)
    drawn = [c for c in found if math.isfinite(c.critical_difference)]
    if not drawn:
        raise ConfigError(
            "no metric has a value of two methods for the same images: there are no ranks to compare",
            where="layout",
            fix="measure several methods: xai run method=[gradient,gradcam,random] metric=[...]",
        )
    paper, notes = draw_critical_differences(drawn, look)
    return paper, [*notes, *_notes(found)]


def chosen(
    run: Run,
    *,
    methods: Sequence[str] | None,
    backbone: str | None,
    target: str | None,
    metrics: Sequence[str] | None,
) -> list[Comparison]:
    """The comparisons of one backbone and target, in the order of the metrics, of these methods only."""
    everything = _of_methods(run, methods) if methods else list(leaderboard(run).comparisons)
    place = one_of("backbone", backbone, (c.backbone for c in everything))
    there = [c for c in everything if c.backbone == place]
    aim = one_of("target", target, (c.target for c in there))
    there = [c for c in there if c.target == aim]
    names = in_order(metrics, [c.metric for c in there], "metric")
    return [c for name in names for c in there if c.metric == name]


def _of_methods(run: Run, methods: Sequence[str]) -> list[Comparison]:
    """As if the run had these methods only: images and ranks that others would take part in change."""
    labels = [str(m.facts["label"]) for m in run.measures]
    in_order(methods, labels)
    record = {**run.record, "values": [v for v in run.record.get("values", ()) if v["label"] in methods]}
    outputs = run.folder.resolve().parent.parent
    return list(leaderboard(Run(run.folder, record, outputs)).comparisons)


def _notes(comparisons: Sequence[Comparison]) -> list[str]:
    return [f"{', '.join(filter(None, (c.metric, c.dataset)))}: {c.words}" for c in comparisons]
