"""Runs on disk made of given maps and numbers, for what reads runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.store_samples import ATTRIBUTES, make_block
from xai_framework.core.status import Status
from xai_framework.store import Block, Run, Store, open_run, write_run

SHAPES = {"name": "shapes", "images": 6, "objects": 2, "size": 96, "seed": 0}


def block_of(
    maps: np.ndarray, ids: Sequence[str] | None = None, status: Mapping[int, Status] | None = None, **changes: Any
) -> Block:
    """(N,C,h,w) -> a block; images of the shapes dataset unless ids are given."""
    count = len(maps)
    names = tuple(ids or (f"shapes-2x96-s0-{i:06d}" for i in range(count)))
    states = np.zeros(count, np.int8)
    reasons = [""] * count
    for i, found in (status or {}).items():
        states[i], reasons[i] = found, "the reason" if found != Status.zero else ""
    fields: dict[str, Any] = {
        "ids": names,
        "contents": tuple(f"{name:0>64}"[-64:] for name in names),
        "attribution": maps.astype(np.float32),
        "status": states,
        "reason": tuple(reasons),
        "view": np.tile([0.0, 0.0, 96.0, 96.0], (count, 1)),
        "image_size": np.full((count, 2), 96, np.int32),
        "input_size": np.full((count, 2), 96, np.int32),
    }
    return make_block(range(count), maps.shape[1:], **{**fields, **changes})


def stored_run(
    outputs: Path,
    cells: Mapping[str, Block],
    values: Mapping[tuple[str, str], Sequence[float]] | None = None,
    *,
    study: str = "demo",
    backbone: str = "vgg",
    target: str = "predicted",
    dataset: Mapping[str, Any] = SHAPES,
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    better: str = "higher",
) -> Run:
    """``cells`` are maps by label, ``values`` numbers by (metric, label); two calls of one study add up."""
    facts = {"backbone": backbone, "target": target, "dataset": dict(dataset)}
    entries: dict[str, list[dict[str, Any]]] = {"cells": [], "values": []}
    for label, block in cells.items():
        method = dict((methods or {}).get(label, {"name": label}))
        file = _written(outputs, f"{backbone}-{label}", block, {"backbone": backbone, "method": method, "study": study})
        entries["cells"].append({"label": label, "method": method, **file, **facts})
    for (metric, label), numbers in (values or {}).items():
        known = np.asarray(numbers, np.float32)
        unknown = {i: Status.not_applicable for i in np.flatnonzero(~np.isfinite(known)).tolist()}
        block = block_of(known[:, None, None, None], cells[label].ids, unknown, contents=cells[label].contents)
        what = {"backbone": backbone, "metric": metric, "of": label, "study": study}
        file = _written(outputs, f"{backbone}-{metric}.{label}", block, what, better=better)
        entries["values"].append({"label": label, "metric": metric, "measure": {"name": metric}, **file, **facts})
    folder = outputs / "runs" / study
    write_run(folder, {"study": study, "command": "xai run", "config_yaml": "", **entries})
    return open_run(folder)


def _written(outputs: Path, name: str, block: Block, identity: dict[str, Any], **attributes: str) -> dict[str, str]:
    cell = Store(outputs / "store").cell("b", name, identity)
    cell.write(block, {**ATTRIBUTES, **attributes}, {"host": "here"})
    path = cell.merge(list(zip(block.ids, block.contents, strict=True)), "all")
    return {"id": cell.id, "file": str(path.relative_to(outputs))}
