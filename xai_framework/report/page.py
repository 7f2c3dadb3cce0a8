"""A study as one static page: methods x images, opened from disk, without a server or a network."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from xai_framework.core.colours import DIVERGING, SEQUENTIAL, colour_table
from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.core.maps import Interpolation
from xai_framework.core.renderer import Renderer, Scale, flat
from xai_framework.core.status import Status
from xai_framework.report.board import board_of
from xai_framework.report.thumbnails import map_address, outline_path, photograph_address, shown_size
from xai_framework.report.view import CellView, ColumnView, PictureView, StudyView
from xai_framework.store import write_atomic

PageScale = Literal["map", "saturated", "method"]
"""Colours run to each map's largest value, to its 99th percentile, or to the largest value of its method."""

WORDS = {
    Status.zero: "no evidence",
    Status.nonfinite: "not finite",
    Status.failed: "failed",
    Status.not_applicable: "not applicable",
    None: "not computed yet",
}
SCALES = {
    "map": "own for each map",
    "saturated": "own, top 1 % cut",
    "method": "shared by method",
}
OFFERED = ("inferno", "viridis", "cividis", "hot", "gray", "jet")
"""Colour maps the reader may switch to, besides the one asked for."""

LISTED = 200
"""Maps without evidence that are listed with their reasons; all are counted."""

SIZE_STEP = 4
"""The slider for sizes moves by so many pixels."""

SMALL = 112
"""Photographs below this many pixels a side are shown with hard pixels, as they are."""


@dataclass(frozen=True)
class PageStyle:
    """How a page looks when it is opened; most of it can be changed on the page. Raises ConfigError."""

    colormap: str = SEQUENTIAL
    signed_colormap: str = DIVERGING
    interpolation: Interpolation = "bilinear"
    opacity: float = 0.6
    grey: bool = True
    scale: PageScale = "map"
    side: int = 320
    quality: int = 80

    def __post_init__(self) -> None:
        colour_table(self.colormap, "colormap")
        colour_table(self.signed_colormap, "signed_colormap")
        if self.scale not in get_args(PageScale):
            raise ConfigError(
                f"{self.scale!r} is not a valid value", where="scale", fix=did_you_mean(self.scale, get_args(PageScale))
            )

    @classmethod
    def like(cls, renderer: Renderer, scale: PageScale = "map") -> Self:
        """The colours, opacity and interpolation of a renderer, as far as it has them."""
        names = ("colormap", "signed_colormap", "interpolation", "opacity", "grey")
        return cls(scale=scale, **{n: getattr(renderer, n) for n in names if hasattr(renderer, n)})


def write_page(folder: Path, study: StudyView, style: PageStyle | None = None, *, most_images: int = 200) -> Path:
    """Write ``folder/index.html``, one self-contained file, whole or not at all; returns its path.

    Shows the first ``most_images`` images and says so where there are more; rows are read one at a time and no
    further than that. Raises StoreError where the file cannot be written.
    """
    style = style or PageStyle()
    body = _Body(study, style)
    seen: set[str] = set()
    for row in study.rows:
        if row.id not in seen and len(seen) == most_images:
            break
        seen.add(row.id)
        body.add(row)
    cut = f"Showing the first {len(seen):,} of {study.images:,} images." if study.images > len(seen) else ""
    head, tail = _environment().get_template("page.html.jinja").render(body.facts(cut)).split("<!--rows-->")
    path = Path(folder) / "index.html"
    # a file name that was never text (a lone surrogate) must not cost the page
    write_atomic(path, "".join([head, *body.rows, tail]).encode("utf-8", errors="replace"))
    return path


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
class _Column:
    """What is learned of a method while its maps go by."""

    view: ColumnView
    top: float = 0.0
    signed: bool = False


@dataclass
class _Body:
    """The rows so far, as HTML, and what the head of the page needs to know of them."""

    study: StudyView
    style: PageStyle
    rows: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    statuses: Counter[Status | None] = field(default_factory=Counter)
    backbones: dict[str, None] = field(default_factory=dict)
    targets: dict[str, None] = field(default_factory=dict)
    judged: bool = False
    truth: bool = False

    def __post_init__(self) -> None:
        self.columns = [_Column(view) for view in self.study.columns]

    def add(self, row: PictureView) -> None:
        """Take in one row; its maps can be forgotten afterwards."""
        n = len(self.rows)
        known = row.photograph.size if row.photograph else (2 * SMALL, 2 * SMALL)
        size = shown_size(known, self.style.side)
        cells = [self._cell(n, row, c, cell, size) for c, cell in zip(self.columns, row.cells, strict=True)]
        truth = _truth(row, known, size)
        self.backbones[row.backbone] = self.targets[row.target] = None
        self.judged |= row.correct is not None
        self.truth |= bool(truth["boxes"] or truth["path"])
        facts = {
            "n": n,
            "row": row,
            "cells": cells,
            "truth": truth,
            "photograph": row.photograph and photograph_address(row.photograph, size, self.style.quality),
            "width": size[0],
            "height": size[1],
            "box": f"0 0 {size[0]} {size[1]}",
            "pixels": " pixels" if max(size) < SMALL else "",
            "single": self.study.images == 1,
            "correct": "" if row.correct is None else "yes" if row.correct else "no",
            "probability": _known(row.probability, lambda p: f"{100 * p:.1f} %"),
            "score": _known(row.score, number),
        }
        self.rows.append(_environment().get_template("row.html.jinja").render(facts))

    def _cell(self, n: int, row: PictureView, column: _Column, cell: CellView, size: tuple[int, int]) -> dict[str, Any]:
        """What the template needs of one map; counts it."""
        status = cell.judged()
        self.statuses[status] += 1
        shown: dict[str, Any] = {"column": column.view, "reason": cell.reason, "address": "", "range": ""}
        if status == Status.ok and cell.attribution is not None:
            values = flat(cell.attribution)
            low, high = float(values.min()), float(values.max())
            top = max(-low, high)
            column.top, column.signed = max(column.top, top), column.signed or low < 0
            extent = f"{number(low)} … {number(high)}"
            about = f"{column.view.label} for {row.explained or row.target or 'the target'} in {row.id}"
            address = map_address(values, size, self.style.interpolation, self.style.quality)
            return shown | {
                "kind": "ok",
                "address": address,
                "top": top,
                "most": Scale.of(values, percentile=99).high,
                "range": extent,
                "alt": f"{about}: values {extent}",
            }
        word = WORDS[status]
        if status is not None and len(self.problems) < LISTED:
            names = (n, row.id, row.backbone, row.target, column.view.label)
            self.problems.append(Problem(*names, word, cell.reason))
        if status == Status.zero:
            shown["range"] = "all zero"
        elif status == Status.nonfinite and cell.attribution is not None:
            shown["range"] = _count_nonfinite(cell)
        return shown | {"kind": status.name if status is not None else "missing", "word": word}

    def facts(self, cut: str) -> dict[str, Any]:
        """What the page's template needs besides the rows."""
        sequential = list(dict.fromkeys((self.style.colormap, *OFFERED)))
        single = self.study.images == 1
        size = _start_size(len(self.columns) + 1, single)
        stylesheet = _asset("page.css") + self._colours_of_columns(size)
        several = {"backbone": list(self.backbones), "target": list(self.targets)}
        script = _asset("page.js")
        return {
            "study": self.study,
            "options": self.style,
            "cut": cut,
            "single": single,
            "size": size,
            "size_step": SIZE_STEP,
            "scales": SCALES,
            "described": any(c.view.parameters or c.view.doc for c in self.columns),
            "rows": len(self.rows),
            "columns": self.columns,
            "has_truth": self.truth,
            "has_correct": self.judged and len(self.rows) > 1,
            "choices": {name: texts for name, texts in several.items() if len(texts) > 1},
            "study_has": {name: any(texts) for name, texts in several.items()},
            "problems": self._problems(),
            "board": board_of(self.study.comparisons),
            "summary": self._summary(),
            "sequential": sequential,
            "filters": {n: _colour_filter(f"s{i}", n, half=True) for i, n in enumerate(sequential)}
            | {"": _colour_filter("d", self.style.signed_colormap, half=False)},
            "style": Markup(stylesheet),
            "script": Markup(script),
            "style_hash": _hash(stylesheet),
            "script_hash": _hash(script),
        }

    def _colours_of_columns(self, size: int) -> str:
        """The part of the stylesheet that depends on the study: numbers only, never its texts."""
        places = [f".pictures td:nth-child({i + 2})" for i, column in enumerate(self.columns) if column.signed]
        signed = "".join(
            f"{place} .heat{{filter:contrast(var(--gain,1)) var(--diverging)}}\n"
            f"{place} .strip{{background:linear-gradient(90deg,#000,#808080,#fff);filter:var(--diverging)}}\n"
            f'{place} .low::before{{content:"−max"}}\n'
            for place in places
        )
        start = (
            f"--size:{size}px;--columns:{len(self.columns) + 1};--opacity:{self.style.opacity:g};"
            "--sequential:url(#s0);--diverging:url(#d)"
        )
        return f":root{{{start}}}\n{signed}"

    def _summary(self) -> str:
        parts = [plural(self.study.images, "image"), plural(len(self.columns), "method")]
        for names, word in ((self.backbones, "backbone"), (self.targets, "target")):
            if len(names) > 1:
                parts.append(plural(len(names), word))
        missing = self.statuses[None]
        return " · ".join(parts + ([f"{plural(missing, 'map')} not computed yet"] if missing else []))

    def _problems(self) -> dict[str, Any]:
        counts = {s: self.statuses[s] for s in Status if s != Status.ok and self.statuses[s]}
        summary = ", ".join(f"{count:,} {WORDS[s]}" for s, count in counts.items())
        return {"total": sum(counts.values()), "summary": summary, "listed": self.problems}


def number(value: float) -> str:
    """Three digits that count, with a true minus sign: ``−0.0123``, ``3.1e−9``, ``0``."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        text = f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
    else:
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def plural(count: int, noun: str) -> str:
    """``1 image``, ``1,204 images``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _start_size(pictures: int, single: bool) -> int:
    """Pixels a picture for a window 1200 wide: one line in a grid, at most four a line where there is one image."""
    if single:
        lines = -(-pictures // 4)
        size = max(200, min(360, 1150 // -(-pictures // lines) - 28))
    else:
        size = max(112, min(224, 1120 // pictures - 12))
    return size // SIZE_STEP * SIZE_STEP


def _known(value: float | None, text: Callable[[float], str]) -> str:
    return text(value) if value is not None and math.isfinite(value) else ""


def _count_nonfinite(cell: CellView) -> str:
    values = flat(np.asarray(cell.attribution))
    lost = int((~np.isfinite(values)).sum())
    return "no finite value" if lost == values.size else f"{lost:,} of {values.size:,} not finite"


def _truth(row: PictureView, known: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """Boxes (x, y, width, height) and outline of the truth, in the shown picture."""
    x, y = size[0] / known[0], size[1] / known[1]
    boxes = [tuple(f"{v:.4g}" for v in (a * x, b * y, (c - a) * x, (d - b) * y)) for a, b, c, d in row.boxes]
    return {"boxes": boxes, "path": "" if row.mask is None else outline_path(row.mask, size)}


def _colour_filter(name: str, colormap: str, *, half: bool) -> dict[str, Any]:
    """An SVG filter from grey to colour. ``half``: the map starts at middle grey, which stands for 0."""
    grey = np.linspace(0, 1, 129)
    at = np.clip(2 * grey - 1, 0, 1) if half else grey
    table = colour_table(colormap)[np.rint(at * 255).astype(int)] / 255
    return {"id": name, "tables": [" ".join(f"{v:.3g}" for v in channel) for channel in table.T]}


def _hash(text: str) -> Markup:
    """The content-security-policy source that allows exactly this inline text."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Markup(f"'sha256-{digest}'")


def _asset(name: str) -> str:
    return files("xai_framework.report").joinpath(name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_asset), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plural"] = plural
    return environment
