"""Rows of a page as data for its script: facts that are always there, and pictures that are fetched when shown."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.maps import resize
from xai_framework.core.renderer import Scale, flat
from xai_framework.core.status import Status
from xai_framework.report.look import PageStyle
from xai_framework.report.thumbnails import map_address, mask_runs, photograph_address, shown_size
from xai_framework.report.view import CellView, ColumnView, PictureView, StudyView

WORDS = {
    Status.zero: "no evidence",
    Status.nonfinite: "not finite",
    Status.failed: "failed",
    Status.not_applicable: "not applicable",
    None: "not computed yet",
}
LETTERS = {
    Status.ok: "o",
    Status.zero: "z",
    Status.nonfinite: "n",
    Status.failed: "f",
    Status.not_applicable: "a",
    None: "-",
}
"""A status as a row's facts have it."""

LISTED = 200
"""Maps without evidence that are listed with their reasons; all are counted."""

SMALL = 112
"""Photographs below this many pixels a side are shown with hard pixels, as they are."""

COARSE = 14
"""Cells a side when maps are compared for how much methods disagree."""

PARTS = ("run", "backbone", "target", "dataset")
"""What rows of one image differ by."""

Json = dict[str, Any]


class Problem(NamedTuple):
    """One map that carries no evidence."""

    row: int
    id: str
    backbone: str
    target: str
    method: str
    word: str
    reason: str


@dataclass
class Column:
    """What is learned of a method while its maps go by."""

    view: ColumnView
    top: float = 0.0
    signed: bool = False


@dataclass
class Rows:
    """Takes in one row after another, and keeps of them what the head of the page needs to know."""

    study: StudyView
    style: PageStyle
    facts: list[Json] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    statuses: Counter[Status | None] = field(default_factory=Counter)
    images: dict[str, tuple[int, str]] = field(default_factory=dict)
    places: dict[tuple[str, ...], int] = field(default_factory=dict)
    truth: bool = False

    def __post_init__(self) -> None:
        self.columns = [Column(view) for view in self.study.columns]
        self.values: dict[str, list[list[float | None]]] = {m.label: [] for m in self.study.metrics}

    def add(self, row: PictureView) -> Json:
        """The row's pictures, ready to be written; its maps can be forgotten afterwards."""
        known = row.photograph.size if row.photograph else (2 * SMALL, 2 * SMALL)
        size = shown_size(known, self.style.side)
        cells = [self._cell(row, c, cell, size) for c, cell in zip(self.columns, row.cells, strict=True)]
        self._facts(row)
        pictures: Json = {"size": size, "full": known, "cells": cells}
        if row.photograph is not None:
            pictures["photograph"] = photograph_address(row.photograph, size, self.style.quality)
        else:
            pictures["missing"] = row.missing
        if max(size) < SMALL:
            pictures["pixels"] = 1
        x, y = 1 / known[0], 1 / known[1]
        boxes = [[round(v, 4) for v in (a * x, b * y, c * x, d * y)] for a, b, c, d in row.boxes]
        runs = [] if row.mask is None else mask_runs(row.mask)
        self.truth |= bool(boxes or runs)
        return pictures | ({"boxes": boxes} if boxes else {}) | ({"runs": runs} if runs else {})

    def _facts(self, row: PictureView) -> None:
        """What is filtered and sorted by. The script knows these short names."""
        place = self.places.setdefault(tuple(getattr(row, part) for part in PARTS), len(self.places))
        image, _ = self.images.setdefault(row.id, (len(self.images), row.label))
        known = {
            "explained": row.explained,
            "score": _known(row.score),
            "kind": row.score_kind or "score",
            "prediction": row.prediction,
            "probability": _known(row.probability),
            "correct": None if row.correct is None else int(row.correct),
            "disagreement": _known(disagreement(row.cells)),
        }
        statuses = "".join(LETTERS[cell.judged()] for cell in row.cells)
        facts = {"image": image, "place": place, "statuses": statuses}
        self.facts.append(facts | {k: v for k, v in known.items() if v not in ("", None)})
        for metric, rows in self.values.items():
            given = row.values.get(metric) or [math.nan] * len(self.columns)
            rows.append([_known(v) for v in given])

    def _cell(self, row: PictureView, column: Column, cell: CellView, size: tuple[int, int]) -> Json:
        """What the script needs of one map; counts it."""
        status = cell.judged()
        if status is None and cell.reason:
            return {"word": "not in this study", "reason": cell.reason}
        self.statuses[status] += 1
        if status == Status.ok and cell.attribution is not None:
            values = flat(cell.attribution)
            low, high = float(values.min()), float(values.max())
            column.top, column.signed = max(column.top, -low, high), column.signed or low < 0
            return {
                "map": map_address(values, size, self.style.interpolation, self.style.quality),
                "low": low,
                "high": high,
                "most": Scale.of(values, percentile=99).high,
            }
        word = WORDS[status]
        if status is not None and len(self.problems) < LISTED:
            names = (len(self.facts), row.id, row.backbone, row.target, column.view.label)
            self.problems.append(Problem(*names, word, cell.reason))
        found = {"word": word} | ({"reason": cell.reason} if cell.reason else {})
        if status == Status.zero:
            return found | {"range": "all zero"}
        if status == Status.nonfinite and cell.attribution is not None:
            return found | {"range": _count_nonfinite(cell)}
        return found


def disagreement(cells: Sequence[CellView]) -> float:
    """How much the maps of one image differ: one less the mean rank correlation of all pairs; NaN for fewer than two.

    On a coarse grid, so that it says where evidence lies, not how fine its grain is. Flat maps are left out.
    """
    from scipy.stats import rankdata

    coarse = []
    for cell in cells:
        if cell.judged() == Status.ok and cell.attribution is not None:
            values = resize(_pooled(flat(cell.attribution)), (COARSE, COARSE), "bilinear").ravel()
            if np.ptp(values) > 0:
                coarse.append(rankdata(values))
    if len(coarse) < 2:
        return math.nan
    table = np.corrcoef(np.stack(coarse))
    return float(1 - np.mean([table[a, b] for a, b in itertools.combinations(range(len(coarse)), 2)]))


def _pooled(values: NDArray[Any]) -> NDArray[np.float64]:
    """Means of blocks, so that resizing to the coarse grid skips nothing; coarse maps stay as they are."""
    y, x = (max(1, side // COARSE) for side in values.shape)
    height, width = values.shape[0] // y * y, values.shape[1] // x * x
    blocks = np.asarray(values[:height, :width], np.float64).reshape(height // y, y, width // x, x)
    return np.asarray(blocks.mean((1, 3)))


def _known(value: float | None) -> float | None:
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def _count_nonfinite(cell: CellView) -> str:
    values = flat(np.asarray(cell.attribution))
    lost = int((~np.isfinite(values)).sum())
    return "no finite value" if lost == values.size else f"{lost:,} of {values.size:,} not finite"
