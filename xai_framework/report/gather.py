"""From a stored run to what its page shows, one image at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xai_framework.core.dataset import Box, Dataset, Item
from xai_framework.core.errors import XaiError
from xai_framework.core.geometry import Geometry
from xai_framework.core.renderer import Renderer
from xai_framework.core.status import Status
from xai_framework.registry import Registry
from xai_framework.report.page import PageScale, PageStyle, write_page
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
    photographs = _Photographs(cells[0].facts.get("dataset"), registry)
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
    photographs: _Photographs,
) -> PictureView:
    stored = {label: file.row(i) for label, file in files.items()}
    first = next(iter(stored.values()))
    image, missing, item = photographs.seen_by_model(i, first)
    boxes, mask = _truth(item, first)
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


def _truth(item: Item | None, row: StoredRow) -> tuple[list[Box], Any]:
    """Boxes and united mask of the true objects, in the pixels the model saw."""
    if item is None or not item.truth or not all(row.input_size):
        return [], None
    geometry = Geometry(row.image_size, row.input_size, row.view)
    boxes = [geometry.box_to_input(r.box) for r in item.truth if r.box]
    masks = [r.mask for r in item.truth if r.mask is not None]
    united = geometry.mask_to_input(np.logical_or.reduce(masks)) if masks else None
    return [b for b in boxes if b], united


class _Photographs:
    """The study's pictures, opened again from its dataset; each is kept while its rows are made."""

    def __init__(self, config: Any, registry: Registry) -> None:  # noqa: ANN401 - as recorded
        self._dataset: Dataset | None = None
        self._why = ""
        try:
            dataset = registry.build("dataset", config, "dataset")
            self._dataset = dataset if isinstance(dataset, Dataset) else None
        except (XaiError, TypeError, ValueError) as error:
            self._why = f"the dataset cannot be opened: {error}"
        self._item = lru_cache(maxsize=2)(self._open)

    def seen_by_model(self, i: int, row: StoredRow) -> tuple[Image.Image | None, str, Item | None]:
        """(photograph as the model saw it, or why there is none, its item)."""
        item, why = self._item(i)
        if item is None:
            return None, why, None
        if item.id != row.id:
            return None, f"the dataset now holds {item.id!r} in this place", None
        if row.status == Status.failed and not all(row.input_size):
            return None, row.reason, None
        picture = item.image if isinstance(item.image, Image.Image) else _as_picture(np.asarray(item.image))
        if picture is None:
            return None, "not a photograph", item
        return Geometry(row.image_size, row.input_size, row.view).picture_to_input(picture.convert("RGB")), "", item

    def _open(self, i: int) -> tuple[Item | None, str]:
        if self._dataset is None:
            return None, self._why
        try:
            return self._dataset[i], ""
        except (XaiError, IndexError) as error:
            return None, str(error)


def _as_picture(array: np.ndarray[Any, Any]) -> Image.Image | None:
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        return None
    scaled = array if array.dtype == np.uint8 else (np.clip(np.nan_to_num(array), 0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(scaled)).convert("RGB")


def write_report(folder: Path, registry: Registry, renderer: Renderer, scale: PageScale) -> Path:
    """The page of a stored run, ``folder/index.html``; made again only where the run or the look changed."""
    run = open_run(folder)
    return write_page(folder, view_of(run, registry), PageStyle.like(renderer, scale))
