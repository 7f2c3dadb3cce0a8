"""The images that changed most between two runs: photograph, both maps, and where they differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xai_framework.core.errors import ConfigError
from xai_framework.core.maps import status_of
from xai_framework.core.status import Status
from xai_framework.figures.grid import Grid, Title, draw
from xai_framework.figures.look import Look
from xai_framework.figures.paper import PaperFigure, check_matplotlib, number, settings
from xai_framework.figures.places import Place
from xai_framework.registry import Registry
from xai_framework.report.photographs import Photographs
from xai_framework.statistics import ChangedRow, PairChanges, RunChanges, on_one_grid

DIFFERENCE = "B − A, each ÷ its max"


def changes_figure(
    changes: RunChanges,
    *,
    rows: int = 4,
    names: tuple[str, str] = ("", ""),
    registry: Registry | None = None,
    **look: Any,  # noqa: ANN401 - fields of Look
) -> PaperFigure:
    """The ``rows`` images whose maps changed most, over all pairs. Maps have scales of their own.

    The difference is that of the maps divided by their largest magnitude, so that it tells where, not how much.
    ``names`` of the two runs stand below A and B where nothing else tells them apart.

    Raises ConfigError where no map changed.
    """
    check_matplotlib()
    how = Look(**{"width": 120.0, **look})
    found = [(pair, row) for pair in changes.pairs for row in pair.maps.most_changed]
    if not found:
        raise ConfigError("no map with evidence changed: there is nothing to show", where="figure")
    found = sorted(found, key=lambda pair_row: pair_row[1].order)[:rows]
    with settings():
        places, titles, notes = [], [], []
        for pair, row in found:
            placed, missing = _row(pair, row, registry or Registry())
            places.append(placed)
            titles.append(_title(pair, row, several=len(changes.pairs) > 1))
            notes += [f"{row.id}: no photograph: {missing}"] if missing else []
        names = _sides(changes, names)
        columns = [Title(""), Title("A", names[0]), Title("B", names[1]), Title("difference", DIFFERENCE)]
        paper = draw(Grid(places, titles, columns), how)
    return PaperFigure(paper, "what changed most", notes)


def _row(pair: PairChanges, row: ChangedRow, registry: Registry) -> tuple[list[Place | None], str]:
    one, two = pair.first.row(row.places[0]), pair.second.row(row.places[1])
    photographs = Photographs(pair.first.facts.get("dataset"), registry)
    photograph, missing, _ = photographs.seen_by_model(row.places[0], one)
    a, b = on_one_grid(one.attribution, two.attribution)
    size = one.input_size if all(one.input_size) else a.shape
    scaled = [m / top if (top := float(np.abs(m).max())) > 0 else m for m in (a, b)]
    return [Place(photograph, size), *(_map(m, photograph, size) for m in (a, b, scaled[1] - scaled[0]))], missing


def _map(values: Any, photograph: Any, size: Any) -> Place:  # noqa: ANN401 - (h,w), a picture, (height, width)
    if status_of(values) != Status.ok:
        return Place(photograph, size, word="no evidence")
    return Place(photograph, size, values)


def _title(pair: PairChanges, row: ChangedRow, *, several: bool) -> Title:
    """The explained class (and the method, where there are several), and the rank correlation."""
    a, b = row.explained
    said = (a if a == b else f"{a} → {b}") or row.id
    rho = row.likeness.spearman
    label = f"{pair.first.facts['label']}: " if several else ""
    return Title(label + said, f"ρ = {number(round(rho, 2))}" if math.isfinite(rho) else "")


def _sides(changes: RunChanges, names: tuple[str, str]) -> tuple[str, str]:
    """What tells A from B in all pairs: backbone, method or target; else the names given."""
    for key in ("backbone", "label", "target"):
        both = {(str(p.first.facts.get(key, "")), str(p.second.facts.get(key, ""))) for p in changes.pairs}
        a, b = both.pop() if len(both) == 1 else ("", "")
        if a != b:
            return a, b
    return names if names[0] != names[1] else ("", "")
