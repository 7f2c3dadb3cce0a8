"""From a stored run to what its page shows, one image at a time."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.errors import XaiError
from xai_framework.core.renderer import Renderer
from xai_framework.registry import Registry
from xai_framework.report.page import MOST_IN_ONE_FILE, Form, PageScale, PageStyle, write_page
from xai_framework.report.photographs import Photographs, truth_of
from xai_framework.report.recipe import recipe_of
from xai_framework.report.view import CellView, ColumnView, MetricView, PictureView, StudyView
from xai_framework.statistics import PairedBoard, Summary, leaderboard, paired_comparisons
from xai_framework.statistics.datasets import dataset_captions, dataset_key
from xai_framework.statistics.direction import is_judged
from xai_framework.store import MapFile, Run, StoredMaps, StoredRow, StoredValues, open_run


def view_of(run: Run | Sequence[Run], registry: Registry) -> StudyView:
    """The page's data; maps and photographs are read while the page is written.

    Several runs stand on one page: columns of the same label are one column where they are the same method.
    """
    runs = [run] if isinstance(run, Run) else list(run)
    names = _names(runs)
    columns = _columns(runs, names, registry)
    labels = {key: i for i, (key, _) in enumerate(columns)}
    metrics = {str(m.facts["metric"]): m for r in runs for m in r.measures}
    files = {(str(c.facts.get("dataset")), c.path.name): c for r in runs for c in r.cells}
    return StudyView(
        title=" + ".join(dict.fromkeys(str(r.record.get("study", r.folder.name)) for r in runs)),
        columns=[column for _, column in columns],
        rows=_rows(runs, names, labels, list(metrics), registry),
        images=len({i for c in files.values() for i in c.ids}),
        command="\n".join(dict.fromkeys(str(r.record.get("command", "")) for r in runs)),
        config_yaml="\n---\n".join(dict.fromkeys(str(r.record.get("config_yaml", "")) for r in runs)),
        versions={k: str(v) for r in reversed(runs) for k, v in r.record.get("versions", {}).items()},
        comparisons=[
            replace(c, backbone=", ".join(part for part in (name, c.backbone) if part))
            for r, name in zip(runs, names, strict=True)
            if r.measures
            for c in leaderboard(r).comparisons
        ],
        pairs=[summary for r in runs for summary in _pairs(r)],
        metrics=[MetricView(name, m.higher_is_better, is_judged(m)) for name, m in metrics.items()],
        recipes=[recipe_of(c.facts, registry) for r in runs for c in r.cells],
    )


def _pairs(run: Run) -> tuple[Summary, ...]:
    """Two backbones, method by method; of more, each against its untrained control."""
    names = list(dict.fromkeys(str(m.facts.get("backbone", "")) for m in run.measures))
    if len(names) < 2:
        return ()
    found = paired_comparisons(run)
    return PairedBoard(found or (paired_comparisons(run, names[1]) if len(names) == 2 else ())).summaries()


def _names(runs: Sequence[Run]) -> list[str]:
    """What tells the runs apart: nothing where there is one."""
    if len(runs) == 1:
        return [""]
    names = [r.folder.name for r in runs]
    return names if len(set(names)) == len(names) else [str(r.folder) for r in runs]


def _key(facts: Mapping[str, Any]) -> tuple[str, str]:
    """What makes two cells maps of the same method: the label and every parameter."""
    return str(facts["label"]), json.dumps(facts.get("method", {}), sort_keys=True, default=str)


def _columns(runs: Sequence[Run], names: Sequence[str], registry: Registry) -> list[tuple[tuple[str, str], ColumnView]]:
    found: dict[tuple[str, str], tuple[StoredMaps, str]] = {}
    for r, name in zip(runs, names, strict=True):
        for cell in r.cells:
            # within a run a label is one column, whatever its parameters: they may differ by backbone
            key = _key(cell.facts) if len(runs) > 1 else (str(cell.facts["label"]), "")
            found.setdefault(key, (cell, name))
    times = Counter(label for label, _ in found)
    return [
        (key, _column(f"{key[0]} ({name})" if times[key[0]] > 1 and name else key[0], cell, registry))
        for key, (cell, name) in found.items()
    ]


def _column(label: str, cell: StoredMaps, registry: Registry) -> ColumnView:
    config = dict(cell.facts.get("method", {}))
    name = str(config.pop("name", label))
    try:
        doc = registry.schema("method", name).summary
    except XaiError:
        doc = ""  # the plugin is not installed where the page is made
    said = [f"{k}={v.get('name') if isinstance(v, dict) else v}" for k, v in config.items()]
    return ColumnView(label, ", ".join(([name] if name != label else []) + said), doc)


@dataclass(frozen=True)
class _Place:
    """What one run holds for one backbone and target: open files by column, and numbers by metric and column."""

    run: str
    backbone: str
    target: str
    dataset: str
    files: Mapping[int, MapFile]
    values: Mapping[str, Mapping[int, NDArray[Any]]]


def _rows(
    runs: Sequence[Run],
    names: Sequence[str],
    labels: Mapping[tuple[str, str], int],
    metrics: Sequence[str],
    registry: Registry,
) -> Iterator[PictureView]:
    """All rows, those of one image together."""
    by_dataset: dict[str, list[tuple[str, StoredMaps]]] = {}
    for r, name in zip(runs, names, strict=True):
        for cell in r.cells:
            key = json.dumps([cell.facts.get("dataset"), cell.path.name], sort_keys=True)
            by_dataset.setdefault(key, []).append((name, cell))

    def column(facts: Mapping[str, Any]) -> int:
        return labels[_key(facts) if len(runs) > 1 else (str(facts["label"]), "")]

    measured = [(name, m) for r, name in zip(runs, names, strict=True) for m in r.measures]
    with ExitStack() as stack:
        captions = dataset_captions([c for r in runs for c in r.cells])
        sources = [
            _source(cells, column, measured, registry, captions[dataset_key(cells[0][1])], stack)
            for cells in by_dataset.values()
        ]
        for image in dict.fromkeys(i for s in sources for i in s.numbers):
            for s in sources:
                if image in s.numbers:
                    for place in s.places:
                        yield _picture(s.numbers[image], place, len(labels), metrics, s.photographs)


@dataclass(frozen=True)
class _Source:
    """Cells of the same images: where each image's row is."""

    places: Sequence[_Place]
    numbers: Mapping[str, int]
    photographs: Photographs


def _source(
    cells: Sequence[tuple[str, StoredMaps]],
    column: Callable[[Mapping[str, Any]], int],
    measured: Sequence[tuple[str, StoredValues]],
    registry: Registry,
    caption: str,
    stack: ExitStack,
) -> _Source:
    """Open all maps of a dataset, by run, backbone and target."""
    groups: dict[tuple[str, str, str], dict[int, StoredMaps]] = {}
    for name, cell in cells:
        key = (name, str(cell.facts.get("backbone", "")), str(cell.facts.get("target", "")))
        groups.setdefault(key, {})[column(cell.facts)] = cell
    _, first = cells[0]
    like = (first.facts.get("dataset"), first.path.name)
    places = [
        _Place(
            *key,
            caption,
            {i: stack.enter_context(maps.file) for i, maps in group.items()},
            _values(measured, key, like, column),
        )
        for key, group in groups.items()
    ]
    count = min(len(file) for place in places for file in place.files.values())
    numbers = {image: i for i, image in enumerate(first.ids[:count])}
    return _Source(places, numbers, Photographs(first.facts.get("dataset"), registry))


def _values(
    measured: Sequence[tuple[str, StoredValues]],
    place: tuple[str, str, str],
    like: tuple[Any, str],
    column: Callable[[Mapping[str, Any]], int],
) -> dict[str, dict[int, NDArray[Any]]]:
    found: dict[str, dict[int, NDArray[Any]]] = {}
    for name, stored in measured:
        f = stored.facts
        if (name, f.get("backbone", ""), f.get("target", "")) == place and (f.get("dataset"), stored.path.name) == like:
            found.setdefault(str(f["metric"]), {})[column(f)] = stored.numbers
    return found


def _picture(i: int, place: _Place, columns: int, metrics: Sequence[str], photographs: Photographs) -> PictureView:
    stored = {column: file.row(i) for column, file in place.files.items()}
    first = next(iter(stored.values()))
    image, missing, item = photographs.seen_by_model(i, first)
    boxes, mask = truth_of(item, first)
    return PictureView(
        id=first.id,
        cells=[_cell(stored.get(column)) for column in range(columns)],
        photograph=image,
        missing=missing,
        backbone=place.backbone,
        target=place.target,
        explained=first.target_name,
        score=first.score,
        score_kind=place.target.rsplit(":", 1)[1] if ":" in place.target else "logit",
        label=first.label,
        prediction=first.prediction_name,
        probability=first.prediction_probability,
        correct=first.label == first.prediction_name if first.label and first.prediction_name else None,
        boxes=boxes,
        mask=mask,
        values={m: _numbers(place.values.get(m, {}), i, columns) for m in metrics},
        run=place.run,
        dataset=place.dataset,
    )


def _numbers(values: Mapping[int, NDArray[Any]], i: int, columns: int) -> list[float]:
    return [float(values[c][i]) if c in values and i < len(values[c]) else math.nan for c in range(columns)]


def _cell(row: StoredRow | None) -> CellView:
    if row is None:
        return CellView(None, None, "not asked for with this backbone and target")
    return CellView(None if np.isnan(row.attribution).all() else row.attribution, row.status, row.reason)


def write_report(
    folders: Path | Sequence[Path],
    registry: Registry,
    renderer: Renderer,
    scale: PageScale,
    *,
    to: Path | None = None,
    most_images: int | None = MOST_IN_ONE_FILE,
    form: Form = "auto",
) -> Path:
    """The page of stored runs, ``index.html`` in the folder ``to`` (the first run's own). Raises StoreError."""
    folders = [folders] if isinstance(folders, Path) else list(folders)
    view = view_of([open_run(f) for f in folders], registry)
    return write_page(to or folders[0], view, PageStyle.like(renderer, scale), most_images=most_images, form=form)
