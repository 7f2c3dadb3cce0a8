"""Means of one or more metrics with their intervals, methods one below the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xai_framework.core.errors import ConfigError
from xai_framework.figures.look import FULL, Look
from xai_framework.figures.paper import FAINT, INK, SMALL, TEXT, Paper, line_height, number, text_width, wrapped
from xai_framework.statistics import Comparison, Standing
from xai_framework.statistics.leaderboard import name_of

ROW = 3.8
"""Millimetres from one method to the next."""

AXIS, GAP, MARGIN = 6.0, 4.0, 1.0
WIDEST = 40.0
"""Millimetres of the labels; longer ones are cut."""

NARROWEST = 22.0
"""Millimetres of a panel in which an axis still has room for its numbers."""


def draw_leaderboard(comparisons: Sequence[Comparison], look: Look) -> Paper:
    """A panel for each metric, the same methods in the same order in all: best mean rank over the metrics first.

    A full dot is the best method of its panel or one not distinguishable from it.
    """
    labels = _ordered(comparisons)
    names = {s.label: name_of(s) for c in comparisons for s in c.standings}
    beside = min(max(text_width(name, TEXT) for name in names.values()), WIDEST) if look.labels else 0.0
    left = MARGIN + beside + (1.5 if look.labels else 0.0)
    room = look.width - left - MARGIN
    if room < NARROWEST:
        least = math.ceil(left + MARGIN + NARROWEST)
        raise ConfigError(
            f"{look.width:g} mm leave {room:.0f} mm for the dots",
            where="width",
            fix=f"give {least} mm (full: {FULL:g})",
        )
    across = max(1, min(len(comparisons), int((room + GAP) // (NARROWEST * 1.3 + GAP)), 4))
    width = (room - GAP * (across - 1)) / across
    heads = [_head(c, width) for c in comparisons]
    head = max(map(len, heads)) * line_height(TEXT) + line_height(SMALL) + 0.8
    height = len(labels) * ROW
    lines = math.ceil(len(comparisons) / across)
    foot = wrapped(_caption(comparisons), look.width - 2 * MARGIN, SMALL, 4) if look.labels else []
    block = head + height + AXIS
    paper = Paper(look.width, MARGIN + lines * block + len(foot) * line_height(SMALL) + 1.0, look.dpi)
    for k, (c, said) in enumerate(zip(comparisons, heads, strict=True)):
        x, y = left + (k % across) * (width + GAP), MARGIN + (k // across) * block
        paper.text(x + width / 2, y + head - 0.8, "\n".join([*said, ""]), ha="center", va="bottom")
        paper.text(x + width / 2, y + head - 0.8, c.direction, ha="center", va="bottom", fontsize=SMALL, color=FAINT)
        _panel(paper.axes(x, y + head, width, height), c, labels)
        if k % across == 0 and look.labels:
            for i, label in enumerate(labels):
                said_label = wrapped(names[label], beside + 0.1, TEXT, 1)[0]
                paper.text(left - 1.5, y + head + (i + 0.5) * ROW, said_label, ha="right", va="center")
    paper.text(MARGIN, MARGIN + lines * block, "\n".join(foot), fontsize=SMALL, color=FAINT)
    return paper


def _panel(axes: Any, c: Comparison, labels: Sequence[str]) -> None:  # noqa: ANN401 - matplotlib's
    standings = {s.label: s for s in c.standings}
    for i, label in enumerate(labels):
        axes.axhline(i, color="#e3e3e8", linewidth=0.4, zorder=0)
        standing = standings.get(label)
        if standing is None or not math.isfinite(standing.mean.value):
            how = {"fontsize": SMALL, "color": FAINT, "ha": "center", "va": "center"}
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            axes.text(0.5, i, "no value", transform=axes.get_yaxis_transform(), bbox=ground, **how)
            continue
        best = standing is c.standings[0] or not standing.distinguishable
        _dot(axes, standing, i, fill=(INK if best else "white") if c.judged else FAINT)
    if not any(math.isfinite(s.mean.value) for s in c.standings):
        axes.set_xticks([])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks([])
    axes.margins(x=0.08)
    axes.tick_params(axis="x", labelsize=SMALL, width=0.5, length=2, pad=1.5, colors=INK)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    if len(axes.get_xticks()):
        _ticks(axes)


def _dot(axes: Any, s: Standing, place: int, *, fill: str) -> None:  # noqa: ANN401 - matplotlib's
    if math.isfinite(s.mean.low):
        axes.plot([s.mean.low, s.mean.high], [place, place], color=INK, linewidth=0.9, solid_capstyle="butt")
    axes.plot([s.mean.value], [place], "o", markersize=3.4, markeredgewidth=0.8, markeredgecolor=INK,
              markerfacecolor=fill, zorder=3)  # fmt: skip


def _ticks(axes: Any) -> None:  # noqa: ANN401 - matplotlib's
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_xlim()
    ticks = [float(t) for t in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= t <= high]
    axes.set_xticks(ticks, [number(t) for t in ticks])


def _ordered(comparisons: Sequence[Comparison]) -> list[str]:
    """Methods by their mean rank over the metrics that judge, if any does; those without any last."""
    ranks: dict[str, list[float]] = {s.label: [] for c in comparisons for s in c.standings}
    for c in [c for c in comparisons if c.judged] or comparisons:
        for s in c.standings:
            ranks[s.label].append(s.rank)
    known = {label: [r for r in found if math.isfinite(r)] for label, found in ranks.items()}
    return sorted(ranks, key=lambda label: (sum(known[label]) / len(known[label]) if known[label] else math.inf, label))


def _head(c: Comparison, width: float) -> list[str]:
    """The metric, and the dataset where there are several."""
    return [*wrapped(c.metric, width, TEXT), *(wrapped(c.dataset, width, TEXT) if c.dataset else ())]


def _caption(comparisons: Sequence[Comparison]) -> str:
    where = ", ".join(p for p in (comparisons[0].backbone, comparisons[0].target) if p)
    counts = sorted({c.common for c in comparisons})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    said = "mean and 95 % interval; full: best or not distinguishable from it, empty: distinguishable"
    if not all(c.judged for c in comparisons):
        said += "; grey: no value is better"
    return f"{where + ', ' if where else ''}{n} images; {said} (Wilcoxon, Holm, 0.05)"
