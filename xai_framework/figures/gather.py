"""From a stored run to the maps and photographs that a figure shows. Only the rows asked for are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from xai_framework.core.dataset import Box
from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.core.maps import status_of
from xai_framework.core.renderer import flat
from xai_framework.core.status import Status
from xai_framework.registry import Registry
from xai_framework.report.photographs import Photographs, truth_of
from xai_framework.store import MapFile, Run, StoredMaps, StoredRow

NOT_THERE = "not in this run"


@dataclass(frozen=True, eq=False)
class PicturedMap:
    """One map (h,w), float64, channels summed; None where there is none, and then ``word`` says why."""

    values: NDArray[np.float64] | None
    word: str = ""
    reason: str = ""


@dataclass(frozen=True, eq=False)
class PicturedImage:
    """One image and its maps, in the order of the methods; boxes and mask are the truth in the photograph's pixels."""

    id: str
    photograph: Image | None
    size: tuple[int, int]
    maps: tuple[PicturedMap, ...]
    missing: str = ""
    explained: str = ""
    probability: float = float("nan")
    label: str = ""
    boxes: Sequence[Box] = ()
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Pictured:
    """What a figure of maps shows. ``signed`` says by method whether any shown map has evidence against."""

    labels: tuple[str, ...]
    images: tuple[PicturedImage, ...]
    notes: list[str] = field(default_factory=list)


def one_of(what: str, wanted: str | None, there: Iterable[str]) -> str:
    """The only backbone (or target) there is, or the wanted one. Raises ConfigError."""
    names = list(dict.fromkeys(there))
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        raise ConfigError(f"the run has {len(names)} {what}s, a figure shows one", where=what, fix=_listed(names))
    if wanted not in names:
        raise ConfigError(f"no {what} {wanted!r} in this run", where=what, fix=did_you_mean(wanted, names))
    return wanted


def cells_of(run: Run, backbone: str | None, target: str | None) -> list[StoredMaps]:
    """The cells of one backbone and target. Raises ConfigError where that leaves a choice, or nothing."""
    chosen = one_of("backbone", backbone, (str(c.facts.get("backbone", "")) for c in run.cells))
    cells = [c for c in run.cells if str(c.facts.get("backbone", "")) == chosen]
    aim = one_of("target", target, (str(c.facts.get("target", "")) for c in cells))
    return [c for c in cells if str(c.facts.get("target", "")) == aim]


def in_order(wanted: Sequence[str] | None, there: Sequence[str], what: str = "method") -> list[str]:
    """The wanted names in their order, all where none is asked for. Raises ConfigError for one that is not there."""
    if not wanted:
        return list(dict.fromkeys(there))
    for name in wanted:
        if name not in there:
            raise ConfigError(f"no {what} {name!r} in this run", where=f"{what}s", fix=did_you_mean(name, there))
    return list(dict.fromkeys(wanted))


def by_dataset(cells: Sequence[StoredMaps]) -> list[dict[str, StoredMaps]]:
    """Cells by label, for each dataset; the latest of a label stands."""
    groups: dict[str, dict[str, StoredMaps]] = {}
    for cell in cells:
        key = json.dumps([cell.facts.get("dataset"), cell.path.name], sort_keys=True)
        groups.setdefault(key, {})[str(cell.facts["label"])] = cell
    return list(groups.values())


def pictured(
    run: Run,
    registry: Registry,
    *,
    methods: Sequence[str] | None = None,
    images: int | Sequence[str] = 4,
    backbone: str | None = None,
    target: str | None = None,
) -> Pictured:
    """Images by methods. ``images`` are the first so many, or ids in their order; ``methods`` labels in their order.

    Raises ConfigError for what the run does not hold, naming what it holds.
    """
    cells = cells_of(run, backbone, target)
    labels = in_order(methods, [str(c.facts["label"]) for c in cells])
    group = _group_with(by_dataset(cells), images)
    files = {label: group[label].file for label in labels if label in group}
    if not files:
        raise ConfigError("none of these methods has maps of these images", where="methods", fix=_listed(list(group)))
    ids = _chosen(images, _ids(files.values()))
    places = {label: {image: i for i, image in enumerate(file.ids)} for label, file in files.items()}
    photographs = Photographs(next(iter(group.values())).facts.get("dataset"), registry)
    shown = tuple(_image(i, labels, files, places, photographs) for i in ids)
    return Pictured(tuple(labels), shown, _notes(labels, shown))


def _image(
    image: str,
    labels: Sequence[str],
    files: dict[str, MapFile],
    places: dict[str, dict[str, int]],
    photographs: Photographs,
) -> PicturedImage:
    rows = {label: files[label].row(places[label][image]) for label in files if image in places[label]}
    # a failed row does not know the photograph's size: any other that is there does
    label, row = next(((k, r) for k, r in rows.items() if all(r.input_size)), next(iter(rows.items())))
    photograph, missing, item = photographs.seen_by_model(places[label][image], row)
    boxes, mask = truth_of(item, row)
    return PicturedImage(
        id=image,
        photograph=photograph,
        size=row.input_size if all(row.input_size) else (1, 1),
        maps=tuple(map_of(rows.get(name)) for name in labels),
        missing=missing,
        explained=row.target_name,
        probability=row.probability,
        label=row.label,
        boxes=boxes,
        mask=mask,
    )


def map_of(row: StoredRow | None, channels: slice = slice(None)) -> PicturedMap:
    """A stored map as it is drawn; a map called ok is still looked at."""
    if row is None:
        return PicturedMap(None, NOT_THERE)
    values = flat(row.attribution[channels])
    status = row.status if row.status != Status.ok else status_of(values)
    if status == Status.ok:
        return PicturedMap(values)
    word = "no evidence" if status == Status.zero else _WORDS[status]
    return PicturedMap(None, word, row.reason)


_WORDS = {Status.nonfinite: "not finite", Status.failed: "failed", Status.not_applicable: "not applicable"}


def _ids(files: Iterable[MapFile]) -> list[str]:
    return list(dict.fromkeys(i for file in files for i in file.ids))


def _group_with(groups: Sequence[dict[str, StoredMaps]], images: int | Sequence[str]) -> dict[str, StoredMaps]:
    """The dataset that holds the wanted images; the first where none is named."""
    if isinstance(images, int):
        return groups[0]
    wanted = set(images)
    return max(groups, key=lambda g: len(wanted & set(_ids(c.file for c in g.values()))))


def _chosen(images: int | Sequence[str], ids: Sequence[str]) -> list[str]:
    if isinstance(images, int):
        if images < 1:
            raise ConfigError(f"{images} images are no figure", where="images", fix="give a number from 1 on, or ids")
        return list(ids[:images])
    for image in images:
        if image not in ids:
            raise ConfigError(f"no image {image!r} in this run", where="images", fix=did_you_mean(image, ids, most=4))
    return list(dict.fromkeys(images))


def _notes(labels: Sequence[str], images: Sequence[PicturedImage]) -> list[str]:
    notes = [f"{i.id}: no photograph: {i.missing}" for i in images if i.photograph is None]
    for image in images:
        for label, drawn in zip(labels, image.maps, strict=True):
            if drawn.values is None:
                notes.append(f"{image.id}: {label}: {drawn.word}" + (f" ({drawn.reason})" if drawn.reason else ""))
    return notes


def _listed(names: Sequence[Any]) -> str:
    return f"give one of: {', '.join(map(str, names[:12]))}" + (" ..." if len(names) > 12 else "")
