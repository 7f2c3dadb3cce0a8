"""The critical difference diagram. Demšar 2006, Statistical Comparisons of Classifiers, figure 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xai_framework.statistics import cliques

_WIDTH, _EDGE, _TOP, _LINE = 760.0, 190.0, 44.0, 15.0
"""The axis runs from edge to edge below the bar of the critical difference; labels stand in lines beside it."""

_FULL = 24
"""More methods than that would be no picture."""


def diagram_of(standings: Sequence[tuple[str, float]], difference: float) -> dict[str, Any] | None:
    """Coordinates of all parts, best rank left; None where there is nothing to draw. ``standings``: best first."""
    known = sorted(((r, label) for label, r in standings if math.isfinite(r)), key=lambda s: s[0])
    if not 3 <= len(known) <= _FULL or not math.isfinite(difference):
        return None
    count = len(known)
    scale = (_WIDTH - 2 * _EDGE) / (count - 1)

    def x(rank: float) -> float:
        return round(_EDGE + (rank - 1) * scale, 1)

    groups = cliques([r for r, _ in known], difference)
    y = _TOP
    lowest = y + 8 + 6 * len(groups)
    half = (count + 1) // 2
    methods = []
    for i, (rank, label) in enumerate(known):
        left = i < half
        line = lowest + 10 + _LINE * (i if left else count - 1 - i)
        end = _EDGE - 14 if left else _WIDTH - _EDGE + 14
        methods.append(
            {
                "points": f"{x(rank)},{y} {x(rank)},{line} {end},{line}",
                "x": end - 4 if left else end + 4,
                "y": line + 4,
                "anchor": "end" if left else "start",
                "label": f"{_short(label)}  {rank:.2f}" if left else f"{rank:.2f}  {_short(label)}",
            }
        )
    return {
        "width": _WIDTH,
        "height": lowest + 16 + _LINE * half,
        "y": y,
        "axis": (x(1), x(count)),
        "ticks": [{"x": x(k), "text": str(k)} for k in range(1, count + 1)],
        "difference": (x(1), x(1 + min(difference, count - 1))),
        "methods": methods,
        "cliques": [
            {"from": x(known[a][0]) - 3, "to": x(known[b][0]) + 3, "y": y + 8 + 6 * n}
            for n, (a, b) in enumerate(groups)
        ],
    }


def _short(label: str) -> str:
    return label if len(label) <= 24 else label[:23] + "…"
