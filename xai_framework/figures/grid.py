"""Pictures in rows and columns, with titles, shared colour bars and the raw range of every map."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.errors import ConfigError
from xai_framework.core.renderer import Scale
from xai_framework.figures import bars
from xai_framework.figures.look import FULL, Look
from xai_framework.figures.paper import (
    FAINT,
    SMALL,
    TEXT,
    Paper,
    check_matplotlib,
    line_height,
    number,
    text_width,
    wrapped,
)
from xai_framework.figures.places import Place, draw_place

GAP, MARGIN = 0.8, 0.6
MORE: dict[str, Any] = {"fontsize": SMALL, "color": FAINT}
LONGEST = 28.0
"""Millimetres of a title that stands upright."""

RANGE = line_height(SMALL) + 0.6
SMALLEST = 6.0
"""Millimetres of a picture in which something can still be seen."""

TALLEST = 240.0
"""Millimetres: more than a page's text is high."""


@dataclass(frozen=True, eq=False)
class Title:
    """A line in ink, and one in grey below it."""

    text: str
    more: str = ""


@dataclass(frozen=True, eq=False)
class Grid:
    """Rows of places, with titles. ``bars``: own (each map its own scale), or one for each of rows, columns, all."""

    places: Sequence[Sequence[Place | None]]
    rows: Sequence[Title]
    columns: Sequence[Title]
    bars: str = "own"


def draw(grid: Grid, look: Look) -> Paper:
    """The figure. Raises ConfigError where the pictures would be too small."""
    check_matplotlib()
    plan = _Plan(grid, look, _scales(grid, look.percentile))
    paper = Paper(look.width, plan.height, look.dpi)
    if look.labels:
        plan.titles(paper)
    for y, (row, height) in enumerate(zip(grid.places, plan.heights, strict=True)):
        for x, place in enumerate(row):
            if place is not None:
                at = (plan.left + x * (plan.side + GAP), plan.tops[y], plan.side, height)
                draw_place(paper, at, place, plan.scale_of(place), look)
                if plan.ranges and place.values is not None:
                    where = (at[0] + plan.side / 2, at[1] + height + 0.5)
                    said = _range(place.values, plan.side + GAP)
                    paper.text(*where, said, fontsize=SMALL, color=FAINT, ha="center")
    plan.colour_bars(paper)
    return paper


class _Plan:
    """Where everything stands, in millimetres."""

    def __init__(self, grid: Grid, look: Look, scales: dict[Any, Scale]) -> None:
        self.grid, self.look, self.scales = grid, look, scales
        self.count = max(len(row) for row in grid.places)
        self.ranges = look.labels and grid.bars == "own"
        self._across(lines=1)
        self._check()
        for lines in (2, 3):  # long titles beside rows take more lines, as long as the pictures do not suffer
            if look.labels and self._rows_are_cut():
                self._across(lines)
                if self.side < SMALLEST:
                    self._across(lines - 1)
        columns = grid.columns if look.labels else []
        self.headings = [_lines(t, self.side) for t in columns]
        self.upright = any(line.endswith("…") for lines, _ in self.headings for line in lines)
        self.above = max((_height(h) for h in self.headings), default=0.0)
        if self.upright:  # too long to stand side by side
            self.headings = [_lines(t, LONGEST, 1) for t in columns]
            self.above = 0.6 + max(text_width(line, TEXT) for lines, _ in self.headings for line in lines)
        self.heights = [self._row_height(row) for row in grid.places]
        below = [GAP + (RANGE if self.ranges and _any_map(r) else 0.0) for r in grid.places]
        starts = np.cumsum([MARGIN + self.above, *map(sum, zip(self.heights, below, strict=True))])
        self.tops = [float(s) for s in starts[:-1]]
        self.end = float(starts[-1]) - GAP
        self.height = self.end + self._bars_height() + MARGIN

    def _bars_height(self) -> float:
        if self.grid.bars == "rows" or not self.scales:
            return 0.0
        return 1.0 + bars.HEIGHT + (line_height(SMALL) if self.grid.bars == "own" else 0.0)

    def _across(self, lines: int) -> None:
        """Titles of so many lines, pictures, bars."""
        titled = self.look.labels and any(t.text or t.more for t in self.grid.rows)
        more = line_height(SMALL) if any(t.more for t in self.grid.rows) else 0.0
        self.lines = lines
        self.left = MARGIN + (lines * line_height(TEXT) + more + 0.4 if titled else 0.0)
        self.beside = self.left + MARGIN + (bars.WIDTH if self.grid.bars == "rows" else 0.0) + GAP * (self.count - 1)
        self.side = (self.look.width - self.beside) / self.count

    def _check(self) -> None:
        if self.side < SMALLEST:
            least = math.ceil(self.beside + SMALLEST * self.count)
            raise ConfigError(
                f"{self.look.width:g} mm are too little for {self.count} pictures of {SMALLEST:g} mm side by side",
                where="width",
                fix=f"give {least} mm or more (full: {FULL:g}), or fewer methods or images",
            )

    def _rows(self) -> Iterator[tuple[Title, Sequence[Place | None]]]:
        return zip(self.grid.rows, self.grid.places, strict=True)

    def _rows_are_cut(self) -> bool:
        shown = (wrapped(title.text, self._row_height(row), TEXT, self.lines) for title, row in self._rows())
        return any(line.endswith("…") for lines in shown for line in lines)

    def _row_height(self, row: Sequence[Place | None]) -> float:
        shapes = [p.size for p in row if p is not None and p.size != (1, 1)]
        return self.side * max((h / w for h, w in shapes), default=1.0)

    def scale_of(self, place: Place) -> Scale | None:
        """The scale of a map; None for what has no colours."""
        if place.values is None:
            return None
        if self.grid.bars == "own":
            return Scale.of(place.values, percentile=self.look.percentile)
        return self.scales[place.group]

    def titles(self, paper: Paper) -> None:
        """Above the columns, and upright beside the rows."""
        for x, (lines, more) in enumerate(self.headings):
            centre = self.left + x * (self.side + GAP) + self.side / 2
            if self.upright:
                start = centre - (line_height(TEXT) + len(more) * line_height(SMALL)) / 2
                foot = MARGIN + self.above - 0.6
                paper.text(start, foot, lines[0], upright=True, ha="left")
                paper.text(start + line_height(TEXT), foot, "\n".join(more), upright=True, ha="left", **MORE)
                continue
            top = MARGIN + self.above - _height((lines, more))
            paper.text(centre, top, "\n".join(lines), ha="center")
            below = top + len(lines) * line_height(TEXT)
            paper.text(centre, below, "\n".join(more), ha="center", **MORE)
        for (title, _), top, height in zip(self._rows(), self.tops, self.heights, strict=True):
            middle = top + height / 2
            lines = wrapped(title.text, height, TEXT, self.lines)
            fits = text_width(title.more, SMALL) <= height  # half a number would mislead
            said = title.more if fits else ""
            start = self.left - 0.4 - len(lines) * line_height(TEXT) - (line_height(SMALL) if said else 0.0)
            paper.text(start, middle, "\n".join(lines), upright=True)
            paper.text(start + len(lines) * line_height(TEXT), middle, said, upright=True, **MORE)

    def colour_bars(self, paper: Paper) -> None:
        """The colour bars, where the groups stand."""
        kind, top = self.grid.bars, self.end + 1.0
        if kind == "rows":
            x = self.left + self.count * (self.side + GAP) + 0.4
            for y, height in enumerate(self.heights):
                if scale := self.scales.get(y):
                    bars.standing(paper, x, self.tops[y], height, scale, self.look)
        elif kind == "columns":
            for x in range(self.count):
                if scale := self.scales.get(x):
                    at = self.left + x * (self.side + GAP) + 0.04 * self.side
                    bars.lying(paper, at, top, 0.92 * self.side, scale, self.look)
        else:
            width = min(40.0, (self.look.width - 2 * MARGIN - 6) / max(1, len(self.scales)))
            gap = 24.0 if len(self.scales) * (width + 24.0) <= self.look.width else 6.0
            start = (self.look.width - len(self.scales) * (width + gap) + gap) / 2
            if kind == "own" and self.scales and self.look.labels:
                said = wrapped(bars.own_scales(self.look), self.look.width - 2 * MARGIN, SMALL, 1)[0]
                paper.text(self.look.width / 2, top + bars.HEIGHT, said, fontsize=SMALL, color=FAINT, ha="center")
            for k, scale in enumerate(self.scales.values()):
                bars.lying(paper, start + k * (width + gap), top, width, scale, self.look, own=kind == "own")


def _scales(grid: Grid, percentile: float) -> dict[Any, Scale]:
    """Each group's scale. With scales of their own: one for each of the two kinds of maps, magnitudes and signed."""
    found: dict[Any, list[NDArray[np.float64]]] = {}
    for row in grid.places:
        for place in row:
            if place is not None and place.values is not None:
                key = bool((place.values < 0).any()) if grid.bars == "own" else place.group
                found.setdefault(key, []).append(place.values)
    if grid.bars == "own":
        return {signed: Scale(-1.0 if signed else 0.0, 1.0) for signed in sorted(found)}
    # maps of different grids: each is flattened by itself
    return {key: Scale.of(*maps, percentile=percentile) for key, maps in found.items()}


def _any_map(row: Sequence[Place | None]) -> bool:
    return any(place is not None and place.values is not None for place in row)


def _lines(title: Title, width: float, most: int = 2) -> tuple[list[str], list[str]]:
    """What fits of a title; the grey line only where all of it does."""
    fits = title.more and text_width(title.more, SMALL) <= width
    return wrapped(title.text, width, TEXT, most), [title.more] if fits else []


def _height(lines: tuple[list[str], list[str]]) -> float:
    return len(lines[0]) * line_height(TEXT) + len(lines[1]) * line_height(SMALL) + 0.4


def _range(values: NDArray[np.float64], width: float) -> str:
    """Smallest and largest value, as exact as there is room; else the largest magnitude, else nothing."""
    low, high = float(values.min()), float(values.max())
    texts = [f"{number(low, n)} … {number(high, n)}" for n in (3, 2, 1)]
    texts += [f"≤ {number(max(-low, high), n)}" for n in (2, 1)]
    return next((text for text in texts if text_width(text, SMALL) < width - 0.5), "")
