"""Critical-difference diagrams of mean ranks. Demšar 2006, JMLR 7, figure 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xai_framework.core.errors import ConfigError
from xai_framework.figures.look import FULL, Look
from xai_framework.figures.paper import FAINT, INK, SMALL, TEXT, Paper, line_height, text_width, wrapped
from xai_framework.statistics import Comparison, Standing
from xai_framework.statistics.cliques import cliques
from xai_framework.statistics.leaderboard import name_of

STEP = 3.4
"""Millimetres from one label to the next."""

BAR = 1.3
"""Millimetres from one clique's bar to the next."""

MARGIN, LEAST = 1.0, 20.0
WIDEST = 28.0
"""Millimetres of the labels on one side; longer ones are cut, so that a column always has room for the axis."""


def draw_critical_differences(comparisons: Sequence[Comparison], look: Look) -> tuple[Paper, list[str]]:
    """One diagram a comparison, below each other, and what a reader cannot see in them.

    The best method stands right; bars join what does not differ.
    """
    diagrams = [_Diagram(c, look) for c in comparisons]
    paper = Paper(look.width, sum(d.height for d in diagrams) + MARGIN, look.dpi)
    top = 0.0
    for diagram in diagrams:
        diagram.draw(paper, top)
        top += diagram.height
    cut = any(diagram.cut for diagram in diagrams)
    return paper, [f"labels are cut at {look.width:g} mm: take a larger width (full: {FULL:g})"] if cut else []


class _Diagram:
    def __init__(self, c: Comparison, look: Look) -> None:
        self.c, self.look = c, look
        self.standings = list(c.standings)  # best first
        count = len(self.standings)
        self.ranks = [s.rank for s in self.standings]
        self.half = (count + 1) // 2  # these stand right, the others left
        self.groups = cliques(self.ranks, c.critical_difference)
        longest = max(text_width(name_of(s), TEXT) for s in self.standings)
        self.points = TEXT if longest <= WIDEST - 10 else SMALL
        self.cut = False
        self.left, self.right = (
            self._beside(side) for side in (self.standings[self.half :], self.standings[: self.half])
        )
        self.start, self.end = MARGIN + self.left, look.width - MARGIN - self.right
        if self.end - self.start < LEAST:
            raise ConfigError(
                f"{look.width:g} mm leave {self.end - self.start:.0f} mm for the axis",
                where="width",
                fix=f"give {math.ceil(2 * MARGIN + self.left + self.right + LEAST)} mm (full: {FULL:g})",
            )
        self.title = wrapped(self._said(), look.width - 2 * MARGIN, SMALL, 3) if look.labels else []
        self.head = MARGIN + (line_height(TEXT) + len(self.title) * line_height(SMALL) + 1.0 if look.labels else 0.0)
        self.axis = 9.5  # from the head to the axis: the CD bar with its text, and the numbers
        self.below = 1.6 + BAR * max(1, self._levels())
        rows = self.half if look.labels else 0
        self.height = self.head + self.axis + self.below + rows * STEP + 1.5

    def _beside(self, standings: Sequence[Standing]) -> float:
        """Millimetres that the labels of one side need."""
        if not self.look.labels or not standings:
            return 2.0
        widest = max(text_width(name_of(s), self.points) for s in standings)
        numbers = max(text_width(f"{s.rank:.2f}", SMALL) for s in standings)
        return min(widest + numbers + 2.7, max(WIDEST, 0.3 * self.look.width))

    def draw(self, paper: Paper, top: float) -> None:
        """Everything, from ``top`` down."""
        axes = paper.axes(0, top, paper.width, self.height)
        axes.set_xlim(0, paper.width)
        axes.set_ylim(self.height, 0)
        axes.set_axis_off()
        if self.look.labels:
            paper.text(MARGIN, top + MARGIN, self.c.metric)
            better = f"({self.c.direction})"
            offset = text_width(self.c.metric + "  ", TEXT)
            paper.text(MARGIN + offset, top + MARGIN + 0.25, better, fontsize=SMALL, color=FAINT)
            lines = "\n".join(self.title)
            paper.text(MARGIN, top + MARGIN + line_height(TEXT), lines, fontsize=SMALL, color=FAINT)
        y = self.head + self.axis
        self._line(axes, (self.start, self.end), (y, y), 0.7)
        every = math.ceil(4.0 / abs(self._x(2) - self._x(1)))  # numbers stand at least 4 mm apart
        for rank in range(1, len(self.ranks) + 1):
            self._line(axes, (self._x(rank),) * 2, (y - 1.0, y), 0.7)
            if (rank - 1) % every == 0:
                paper.text(self._x(rank), top + y - 1.3, str(rank), fontsize=SMALL, ha="center", va="bottom")
        self._difference(paper, axes, top)
        for level, (first, last) in self._placed():
            at = y + 1.6 + level * BAR
            ends = self._x(self.ranks[first]) + 0.5, self._x(self.ranks[last]) - 0.5
            self._line(axes, ends, (at, at), 1.8)
        if self.look.labels:
            self._labels(paper, axes, top, y)

    def _difference(self, paper: Paper, axes: Any, top: float) -> None:  # noqa: ANN401 - matplotlib\'s
        """The bar as long as the critical difference; cut where it is longer than the axis, which the text says."""
        y = self.head + line_height(SMALL) + 1.2
        full = abs(self._x(1 + self.c.critical_difference) - self._x(1))
        length = min(full, self.end - self.start)
        x = (self.end - length, self.end)
        self._line(axes, x, (y, y), 0.9)
        for end in x if length == full else x[1:]:
            self._line(axes, (end, end), (y - 0.6, y + 0.6), 0.9)
        text = f"CD = {self.c.critical_difference:.2f}" + ("" if length == full else ", longer than the axis")
        room = text_width(text, SMALL) / 2
        middle = min(self.end - length / 2, self.look.width - MARGIN - room)
        paper.text(middle, top + y - 0.8, text, fontsize=SMALL, ha="center", va="bottom")

    def _labels(self, paper: Paper, axes: Any, top: float, axis: float) -> None:  # noqa: ANN401
        """The better half right, from the best down; the others left, from the worst down."""
        right = list(range(self.half))
        left = list(range(len(self.standings) - 1, self.half - 1, -1))
        for side, members in (("right", right), ("left", left)):
            for row, i in enumerate(members):
                s = self.standings[i]
                y = axis + self.below + (row + 0.5) * STEP
                edge = self.end + 1.0 if side == "right" else self.start - 1.0
                self._line(axes, (self._x(s.rank), self._x(s.rank), edge), (axis, y, y), 0.5)
                number = f"{s.rank:.2f}"
                inner = text_width(number, SMALL) + 1.0
                room = (self.right if side == "right" else self.left) - inner - 1.6
                label = wrapped(name_of(s), max(room, 3.0), self.points, 1)[0]
                self.cut |= label.endswith("…")
                sign = 1 if side == "right" else -1
                align = "left" if side == "right" else "right"
                paper.text(edge + sign * 0.6, top + y, number, fontsize=SMALL, color=FAINT, ha=align, va="center")
                at = edge + sign * (0.6 + inner)
                paper.text(at, top + y, label, fontsize=self.points, ha=align, va="center")

    def _x(self, rank: float) -> float:
        """Rank 1 stands right, the worst left, as in the paper."""
        return self.end - (rank - 1) / max(1, len(self.ranks) - 1) * (self.end - self.start)

    def _placed(self) -> list[tuple[int, tuple[int, int]]]:
        """(level, group): bars that overlap stand on different levels."""
        taken: list[float] = []  # the last rank that stands on each level
        placed = []
        for group in self.groups:
            first = self.ranks[group[0]]
            level = next((k for k, end in enumerate(taken) if end < first), len(taken))
            taken[level : level + 1] = [self.ranks[group[1]]]
            placed.append((level, group))
        return placed

    def _levels(self) -> int:
        return 1 + max((level for level, _ in self._placed()), default=0)

    def _said(self) -> str:
        where = self.c.where
        p = self.c.friedman
        test = "" if math.isnan(p) else f"; Friedman p {'< 0.001' if p < 0.001 else f'= {p:.2g}'}"
        warning = "" if math.isnan(p) or p < 0.05 else ": no method is shown to differ"
        return f"{where + '; ' if where else ''}mean ranks over n = {self.c.common} images{test}{warning}"

    @staticmethod
    def _line(axes: Any, x: tuple[float, ...], y: tuple[float, ...], width: float) -> None:  # noqa: ANN401
        axes.plot(x, y, color=INK, linewidth=width, solid_capstyle="butt", clip_on=False)
