"""A study as one static page: methods x images, opened from disk, without a server or a network.

The page's script draws what is in sight. Few images go into the page itself; many into files beside it, which the
script fetches as they are needed (as scripts, since a page from disk may read nothing else).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from xai_framework.core.status import Status
from xai_framework.report.board import board_of
from xai_framework.report.look import SCALES, PageScale, PageStyle
from xai_framework.report.rows import PARTS, WORDS, Json, Rows
from xai_framework.report.text import plural
from xai_framework.report.view import PictureView, StudyView
from xai_framework.statistics.paired_board import MARKS
from xai_framework.store import write_atomic

__all__ = ["PageScale", "PageStyle", "write_page"]

Form = Literal["auto", "single", "folder"]
"""``single``: one file that can be sent; ``folder``: a page and files beside it; ``auto``: by the number of images."""

MOST_IN_ONE_FILE = 200
"""Images."""

ROWS_A_PIECE = 20

SIDE_IN_FOLDER = 128
"""Pixels a side of pictures where there are many."""

SIZE_STEP = 4
"""The slider for sizes moves by so many pixels."""

SCRIPTS = ("data", "state", "pixels", "row", "order", "grid", "detail", "overview", "basket", "main")
"""Parts of the page's script, in the order in which they need each other."""


def write_page(
    folder: Path,
    study: StudyView,
    style: PageStyle | None = None,
    *,
    most_images: int | None = MOST_IN_ONE_FILE,
    form: Form = "auto",
) -> Path:
    """Write ``folder/index.html``, whole or not at all; returns its path.

    Shows the first ``most_images`` images (None: all) and says so where there are more; rows are read one at a time
    and no further than that. In the form of a folder, pictures lie in ``folder/page-.../``, which earlier ones make
    room for. Raises StoreError where a file cannot be written.
    """
    style = style or PageStyle()
    shown = study.images if most_images is None else min(most_images, study.images)
    single = form == "single" or (form == "auto" and shown <= MOST_IN_ONE_FILE)
    if not single:
        style = replace(style, side=min(style.side, SIDE_IN_FOLDER) if style.side == PageStyle.side else style.side)
    rows = Rows(study, style)
    pieces = _Pieces(Path(folder), single)
    for row in _first(study, most_images):
        pieces.add_row(rows.add(row))
    pieces.flush()
    for number, values in enumerate(rows.values.values()):
        pieces.write(f"values{number}", values)
    html = _environment().get_template("page.html.jinja").render(_facts(rows, pieces, single=single))
    path = Path(folder) / "index.html"
    # a file name that was never text (a lone surrogate) must not cost the page
    write_atomic(path, html.encode("utf-8", errors="replace"))
    pieces.make_room()
    return path


def _first(study: StudyView, most: int | None) -> Iterator[PictureView]:
    """The rows of the first ``most`` images."""
    seen: set[str] = set()
    for row in study.rows:
        if row.id not in seen and len(seen) == most:
            return
        seen.add(row.id)
        yield row


class _Pieces:
    """Data of the page by name, inside of it or beside it."""

    def __init__(self, folder: Path, inside: bool) -> None:
        self._folder = folder
        self._path = "" if inside else f"page-{secrets.token_hex(4)}"
        self._rows: list[Json] = []
        self._count = 0
        self.inside: dict[str, Markup] = {}

    @property
    def path(self) -> str:
        """The folder beside the page, empty where everything is inside."""
        return self._path

    def add_row(self, row: Json) -> None:
        """Pictures of the next row."""
        self._rows.append(row)
        if len(self._rows) == ROWS_A_PIECE:
            self.flush()

    def flush(self) -> None:
        """Write the rows so far."""
        if self._rows:
            self.write(f"rows{self._count}", self._rows)
            self._rows, self._count = [], self._count + 1

    def write(self, name: str, data: Any) -> None:  # noqa: ANN401 - JSON
        """Write one piece."""
        if not self._path:
            self.inside[name] = as_json(data)
            return
        (self._folder / self._path).mkdir(parents=True, exist_ok=True)
        text = f'xaiPiece("{name}", {as_json(data)});\n'
        write_atomic(self._folder / self._path / f"{name}.js", text.encode("ascii"))

    def make_room(self) -> None:
        """Delete what earlier pages had beside them."""
        for old in self._folder.glob("page-*"):
            if old.name != self._path and old.is_dir() and not old.is_symlink():
                shutil.rmtree(old, ignore_errors=True)


def _facts(rows: Rows, pieces: _Pieces, *, single: bool) -> Json:
    """What the page's template needs."""
    study, style = rows.study, rows.style
    left_out = study.images - len(rows.images)
    cut = f"Showing the first {len(rows.images):,} of {study.images:,} images; xai report shows all."
    several = [len({place[part] for place in rows.places}) > 1 for part in range(len(PARTS))]
    script = script_text()
    stylesheet = _asset("page.css")
    head = {
        "title": study.title,
        "methods": [
            {**{k: getattr(c.view, k) for k in ("label", "parameters", "doc")}, "top": c.top, "signed": c.signed}
            for c in rows.columns
        ],
        "metrics": [{"label": m.label, "higher": m.higher_is_better, "judged": m.judged} for m in study.metrics],
        "places": [dict(zip(PARTS, place, strict=True)) for place in rows.places],
        "images": [{"id": i, "label": label} for i, (_, label) in rows.images.items()],
        "rows": rows.facts,
        "piece": ROWS_A_PIECE,
        "folder": pieces.path,
        "style": {"opacity": style.opacity, "scale": style.scale, "grey": style.grey},
    }
    return {
        "study": study,
        "cut": cut if left_out > 0 else "",
        "rows": rows,
        "several": dict(zip(PARTS, several, strict=True)),
        "scales": SCALES,
        "size_step": SIZE_STEP,
        "style": style,
        "filters": style.filters,
        "problems": _problems(rows),
        "marks": MARKS,
        "board": board_of(study.comparisons),
        "summary": _summary(rows),
        "head": as_json(head),
        "pieces": pieces.inside,
        "stylesheet": Markup(stylesheet),
        "script": Markup(script),
        "style_hash": _hash(stylesheet),
        "script_hash": _hash(script),
    }


def as_json(data: Any) -> Markup:  # noqa: ANN401 - whatever JSON holds
    """JSON that may stand in a script element and in a script: plain ASCII, and no ``<``, ``>`` or ``&``."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def script_text() -> str:
    """The page's script, all parts in one scope of their own."""
    parts = "".join(_asset(f"script/{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _summary(rows: Rows) -> str:
    parts = [plural(rows.study.images, "image"), plural(len(rows.columns), "method")]
    for part, word in enumerate(PARTS):
        count = len({place[part] for place in rows.places})
        if count > 1:
            parts.append(plural(count, word))
    missing = rows.statuses[None]
    return " · ".join(parts + ([f"{plural(missing, 'map')} not computed yet"] if missing else []))


def _problems(rows: Rows) -> Json:
    counts = {s: rows.statuses[s] for s in Status if s != Status.ok and rows.statuses[s]}
    summary = ", ".join(f"{count:,} {WORDS[s]}" for s, count in counts.items())
    return {"total": sum(counts.values()), "summary": summary, "listed": rows.problems}


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
