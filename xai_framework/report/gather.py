"""From a stored run to what its page shows, one image at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xai_framework.core.errors import XaiError
from xai_framework.core.renderer import Renderer
from xai_framework.registry import Registry
from xai_framework.report.page import PageScale, PageStyle, write_page
from xai_framework.report.photographs import Photographs, truth_of
from xai_framework.report.view import CellView, ColumnView, PictureView, StudyView
from xai_framework.statistics import leaderboard
from xai_framework.store import MapFile, Run, StoredMaps, StoredRow, open_run


@dataclass(frozen=True)
class _Row:
    """The cells of one backbone and target, by label."""

    backbone: str
    target: str
    cells: Mapping[str, StoredMaps]


def view_of(run: Run, registry: Registry) -> StudyView:
    """The page's data; maps and photographs are read while the page is written."""
    by_dataset: dict[str, list[StoredMaps]] = {}
    for cell in run.cells:
        key = json.dumps([cell.facts.get("dataset"), cell.path.name], sort_keys=True)
        by_dataset.setdefault(key, []).append(cell)
    labels = list(dict.fromkeys(str(c.facts["label"]) for c in run.cells))
    return StudyView(
        title=str(run.record.get("study", run.folder.name)),
        columns=[_column(label, run.cells, registry) for label in labels],
        rows=(row for cells in by_dataset.values() for row in _rows(cells, labels, registry)),
        images=sum(len(cells[0]) for cells in by_dataset.values()),
        command=str(run.record.get("command", "")),
        config_yaml=str(run.record.get("config_yaml", "")),
        versions={k: str(v) for k, v in run.record.get("versions", {}).items()},
        comparisons=leaderboard(run).comparisons if run.measures else (),
    )


def _column(label: str, cells: Sequence[StoredMaps], registry: Registry) -> ColumnView:
    config = next(dict(c.facts.get("method", {})) for c in cells if c.facts["label"] == label)
    name = str(config.pop("name", label))
    try:
        doc = registry.schema("method", name).summary
    except XaiError:
        doc = ""  # the plugin is not installed where the page is made
    said = [f"{k}={v.get('name') if isinstance(v, dict) else v}" for k, v in config.items()]
    return ColumnView(label, ", ".join(([name] if name != label else []) + said), doc)


def _rows(cells: Sequence[StoredMaps], labels: Sequence[str], registry: Registry) -> Iterator[PictureView]:
    groups: dict[tuple[str, str], dict[str, StoredMaps]] = {}
    for cell in cells:
        key = (str(cell.facts.get("backbone", "")), str(cell.facts.get("target", "")))
        groups.setdefault(key, {})[str(cell.facts["label"])] = cell
    photographs = Photographs(cells[0].facts.get("dataset"), registry)
    with ExitStack() as stack:
        opened = {
            key: {label: stack.enter_context(maps.file) for label, maps in group.items()}
            for key, group in groups.items()
        }
        count = min(len(f) for files in opened.values() for f in files.values())
        for i in range(count):
            for (backbone, target), files in opened.items():
                yield _picture(i, backbone, target, files, labels, photographs)


def _picture(
    i: int,
    backbone: str,
    target: str,
    files: Mapping[str, MapFile],
    labels: Sequence[str],
    photographs: Photographs,
) -> PictureView:
    stored = {label: file.row(i) for label, file in files.items()}
    first = next(iter(stored.values()))
    image, missing, item = photographs.seen_by_model(i, first)
    boxes, mask = truth_of(item, first)
    return PictureView(
        id=first.id,
        cells=[_cell(stored.get(label)) for label in labels],
        photograph=image,
        missing=missing,
        backbone=backbone,
        target=target,
        explained=first.target_name,
        score=first.score,
        score_kind=target.rsplit(":", 1)[1] if ":" in target else "logit",
        label=first.label,
        prediction=first.prediction_name,
        probability=first.prediction_probability,
        correct=first.label == first.prediction_name if first.label and first.prediction_name else None,
        boxes=boxes,
        mask=mask,
    )


def _cell(row: StoredRow | None) -> CellView:
    if row is None:
        return CellView(None, None, "not part of this study for this backbone")
    return CellView(None if np.isnan(row.attribution).all() else row.attribution, row.status, row.reason)


def write_report(folder: Path, registry: Registry, renderer: Renderer, scale: PageScale) -> Path:
    """The page of a stored run, ``folder/index.html``; made again only where the run or the look changed."""
    run = open_run(folder)
    return write_page(folder, view_of(run, registry), PageStyle.like(renderer, scale))
