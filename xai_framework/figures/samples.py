"""One image as the number of noisy copies grows: the strip of SmoothGrad's paper (figure 4)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.figures.gather import Pictured, PicturedImage, cells_of, map_of, pictured
from xai_framework.registry import Registry
from xai_framework.store import Run, StoredMaps

_FIX = "xai run method=[smoothgrad] method.smoothgrad.samples=100 method.smoothgrad.snapshots=[1,2,5,10,20,50,100]"


def sampled(
    run: Run,
    registry: Registry,
    *,
    methods: Sequence[str] | None = None,
    images: int | Sequence[str] = 1,
    backbone: str | None = None,
    target: str | None = None,
) -> Pictured:
    """Images by numbers of copies, from the snapshots of one method, else from methods that differ in ``samples`` only.

    Raises ConfigError where the run has neither, or several of them and none is named by ``methods``.
    """
    cells = cells_of(run, backbone, target)
    labels = list(dict.fromkeys(str(c.facts["label"]) for c in cells))
    for name in methods or ():
        if name not in labels:
            raise ConfigError(f"no method {name!r} in this run", where="methods", fix=did_you_mean(name, labels))
    wanted = [c for c in cells if not methods or c.facts["label"] in methods]
    place: dict[str, Any] = {"images": images, "backbone": backbone, "target": target}
    strips = {str(c.facts["label"]): c for c in wanted if c.facts.get("method", {}).get("snapshots")}
    if len(strips) == 1:
        return _of_snapshots(run, registry, *next(iter(strips.items())), place)
    sweep = _sweep(wanted)
    if len(sweep) > 1:
        found = pictured(run, registry, methods=list(sweep), **place)
        return Pictured(tuple(f"N = {n}" for n in sweep.values()), found.images, found.notes)
    if strips:
        what = f"{len(strips)} methods have snapshots, a strip shows one"
        raise ConfigError(what, where="methods", fix=f"give one of: {', '.join(strips)}")
    raise ConfigError("no method of this run was stored at several numbers of samples", where="layout", fix=_FIX)


def _of_snapshots(run: Run, registry: Registry, label: str, cell: StoredMaps, place: dict[str, Any]) -> Pictured:
    """Snapshots stand one after another in the channels of one map."""
    marks = [int(n) for n in cell.facts["method"]["snapshots"]]
    found = pictured(run, registry, methods=[label], **place)
    rows = {row.id: row for row in (cell.row(cell.ids.index(i.id)) for i in found.images if i.id in cell.ids)}
    images = []
    for image in found.images:
        row = rows.get(image.id)
        each = len(row.attribution) // len(marks) if row else 0
        whole = row is None or each * len(marks) != len(row.attribution) or each == 0
        parts = [slice(None) if whole else slice(k * each, (k + 1) * each) for k in range(len(marks))]
        images.append(_with_maps(image, tuple(map_of(row, part) for part in parts)))
    return Pictured(tuple(f"N = {n}" for n in marks), tuple(images), found.notes)


def _with_maps(image: PicturedImage, maps: tuple[Any, ...]) -> PicturedImage:
    return PicturedImage(**{**vars(image), "maps": maps})


def _sweep(cells: Sequence[StoredMaps]) -> dict[str, int]:
    """Label -> samples, of the largest set of cells whose methods differ in nothing else; fewest samples first."""
    groups: dict[str, dict[str, int]] = {}
    for cell in cells:
        config = dict(cell.facts.get("method", {}))
        samples = config.pop("samples", None)
        if isinstance(samples, int):
            groups.setdefault(json.dumps(config, sort_keys=True), {})[str(cell.facts["label"])] = samples
    largest = max(groups.values(), key=len, default={})
    return dict(sorted(largest.items(), key=lambda pair: pair[1]))
