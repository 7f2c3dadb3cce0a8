"""Comparisons as HTML tables, for notebooks. Everything that a study names is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai_framework.statistics.compare import Comparison, Standing
    from xai_framework.statistics.intervals import Interval

_HEAD = ("method", "mean rank", "mean [95 % CI]", "median [95 % CI]", "valid", "worst case", "p vs best", "effect")


def html_of(comparisons: Iterable[Comparison]) -> str:
    """A table for each comparison, best method first, and what it comes to in words."""
    return "\n".join(_table(c) for c in comparisons)


def _table(c: Comparison) -> str:
    caption = f"<b>{escape(c.metric)}</b> ({c.direction}){': ' if c.where else ''}{escape(c.where)}"
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    rows = "".join(_row(s) for s in c.standings)
    return (
        f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>{escape(c.words)}</p>"
    )


def _row(s: Standing) -> str:
    cells = (_number(s.rank, 2), _interval(s.mean), _interval(s.median), f"{s.valid}/{s.images}")
    rest = (_number(s.worst_case), _number(s.p), _number(s.effect))
    return f"<tr><th>{escape(s.label)}</th>{''.join(f'<td>{text}</td>' for text in (*cells, *rest))}</tr>"


def _interval(interval: Interval) -> str:
    return f"{_number(interval.value)} [{_number(interval.low)}, {_number(interval.high)}]"


def _number(value: float, decimals: int | None = None) -> str:
    if math.isnan(value):
        return "–"
    return (f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}").replace("-", "−")
