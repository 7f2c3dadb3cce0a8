"""``figure``: from a run and the name of a layout to a finished figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.figures.gather import Pictured, PicturedImage, pictured
from xai_framework.figures.grid import TALLEST, Grid, Title, draw
from xai_framework.figures.look import Look
from xai_framework.figures.paper import Paper, PaperFigure, check_matplotlib, settings
from xai_framework.figures.places import Place
from xai_framework.figures.samples import sampled
from xai_framework.figures.statistics import STATISTICS, draw_statistics
from xai_framework.registry import Registry
from xai_framework.store import Run, open_run

PRESETS: dict[str, dict[str, Any]] = {
    "methods-by-images": {},
    "images-by-methods": {},
    "samples": {"colormap": "gray", "opacity": 1.0, "percentile": 100.0},
    "two-rows": {"colormap": "hot", "opacity": 1.0, "percentile": 100.0},
    "leaderboard": {},
    "critical-difference": {"width": 84.0},
}
"""Layout -> what it changes of a :class:`Look`; whatever is asked for stands above it."""

LAYOUTS = tuple(PRESETS)
_IMAGES = {"samples": 1, "two-rows": 5}


def figure(
    run: Run | str | Path,
    layout: str = "methods-by-images",
    *,
    methods: Sequence[str] | None = None,
    images: int | Sequence[str] | None = None,
    backbone: str | None = None,
    target: str | None = None,
    metrics: Sequence[str] | None = None,
    registry: Registry | None = None,
    **look: Any,  # noqa: ANN401 - fields of Look
) -> PaperFigure:
    """A figure of a run.

    ``layout``: ``methods-by-images`` (a row an image), ``images-by-methods`` (a row a method), ``samples`` (one image
    as the number of noisy copies grows), ``two-rows`` (photographs above the maps of one method), ``leaderboard``
    (means with intervals), ``critical-difference`` (Demšar's diagram of mean ranks).

    ``methods`` are labels in their order (default: all), ``images`` ids or the first so many (default: 4; samples: 1;
    two-rows: 5), ``metrics`` those of the statistics (default: all). ``backbone`` and ``target`` are needed where the
    run has several. ``look``: width (mm), dpi, scale, colormap, signed_colormap, opacity, percentile, grey,
    labels, truth, see :class:`Look`.

    Raises ConfigError for what the run does not hold or the paper does not fit, StoreError for damaged files.
    """
    if layout not in PRESETS:
        raise ConfigError(f"no layout {layout!r}", where="layout", fix=did_you_mean(layout, LAYOUTS))
    check_matplotlib()
    how = _look({**PRESETS[layout], **look})
    opened = run if isinstance(run, Run) else open_run(run)
    title = f"{opened.folder.name}: {layout}"
    with settings():
        if layout in STATISTICS:
            place: dict[str, Any] = {"methods": methods, "backbone": backbone, "target": target}
            paper, notes = draw_statistics(opened, layout, how, metrics=metrics, **place)
        else:
            many = _IMAGES.get(layout, 4) if images is None else images
            place = {"methods": methods, "images": many, "backbone": backbone, "target": target}
            paper, notes = _of_maps(opened, layout, how, registry or Registry(), place)
    if paper.height > TALLEST:
        notes.append(f"{paper.height:.0f} mm high, more than a page: take fewer images, or a smaller width")
    return PaperFigure(paper, title, notes)


def _look(given: dict[str, Any]) -> Look:
    names = [f.name for f in dataclasses.fields(Look)]
    for name in given:
        if name not in names:
            raise ConfigError(f"no option {name!r}", where="figure", fix=did_you_mean(name, names))
    return Look(**given)


def _of_maps(run: Run, layout: str, look: Look, registry: Registry, place: dict[str, Any]) -> tuple[Paper, list[str]]:
    if layout == "samples":
        found = sampled(run, registry, **place)
        grid = rows_of_images(found, look)
    elif layout == "two-rows":
        found = _of_one_method(pictured(run, registry, **place), place["methods"])
        grid = rows_of_methods(found, look)
    else:
        found = pictured(run, registry, **place)
        grid = rows_of_images(found, look) if layout == "methods-by-images" else rows_of_methods(found, look)
    return draw(grid, look), found.notes


def _of_one_method(found: Pictured, methods: Sequence[str] | None) -> Pictured:
    """The first method, where none is named."""
    if methods:
        return found
    images = tuple(dataclasses.replace(i, maps=i.maps[:1]) for i in found.images)
    shown = [n for n in found.notes if not any(f": {label}: " in n for label in found.labels[1:])]
    return Pictured(found.labels[:1], images, shown)


def rows_of_images(found: Pictured, look: Look) -> Grid:
    """A row an image: photograph, then its maps."""
    places = [
        [_photograph(image), *(_map(image, x, (y, x + 1), look) for x in range(len(found.labels)))]
        for y, image in enumerate(found.images)
    ]
    columns = [Title(""), *(Title(label) for label in found.labels)]
    bars = {"own": "own", "method": "columns", "row": "rows", "all": "all"}[look.scale]
    return Grid(places, [_title(i) for i in found.images], columns, bars)


def rows_of_methods(found: Pictured, look: Look) -> Grid:
    """A row of photographs, then a row a method."""
    places = [[_photograph(image) for image in found.images]] + [
        [_map(image, k, (x, k + 1), look) for x, image in enumerate(found.images)] for k in range(len(found.labels))
    ]
    rows = [Title(""), *(Title(label) for label in found.labels)]
    bars = {"own": "own", "method": "rows", "row": "columns", "all": "all"}[look.scale]
    return Grid(places, rows, [_title(i) for i in found.images], bars)


def _photograph(image: PicturedImage) -> Place:
    return Place(image.photograph, image.size, boxes=image.boxes, mask=image.mask)


def _map(image: PicturedImage, method: int, at: tuple[int, int], look: Look) -> Place:
    """``at``: (number of the image, number of the method, from 1 on since photographs come first)."""
    drawn = image.maps[method]
    group = {"own": None, "method": at[1], "row": at[0], "all": 0}[look.scale]
    return Place(image.photograph, image.size, drawn.values, drawn.word, group, image.boxes, image.mask)


def _title(image: PicturedImage) -> Title:
    """The explained class, and what else is known of it."""
    if not image.explained:
        return Title(image.id)
    if image.label and image.label != image.explained:
        return Title(image.explained, f"true: {image.label}")
    known = image.probability == image.probability
    return Title(image.explained, f"p = {image.probability:.2f}" if known else "")
