"""Blocks of made-up rows; row i is the same wherever it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xai_framework.core.status import Status
from xai_framework.store import Block, CellStore, Store

IDENTITY = {"backbone": {"name": "vgg16"}, "method": {"name": "gradcam", "layer": "last"}, "seed": 0, "rate": 0.1}
ATTRIBUTES = {"config_yaml": "method: [gradcam]\n"}


def key(i: int) -> tuple[str, str]:
    return f"n{i:03d} äöü/日本.jpg", f"{i:064x}"


def keys(rows: Iterable[int]) -> list[tuple[str, str]]:
    return [key(i) for i in rows]


def map_of(i: int, grid: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(i).standard_normal(grid).astype(np.float32)


def make_block(
    rows: Sequence[int], grid: tuple[int, int, int] = (1, 7, 7), failed: Iterable[int] = (), **changes: Any
) -> Block:
    """Rows in the given order; a failed row has no map, and where all failed the grid is 1x1x1."""
    failed, n = set(failed), len(rows)
    shape = (1, 1, 1) if failed >= set(rows) else grid
    blank = np.full(shape, np.nan, np.float32)
    index = np.array(rows)
    bad = np.isin(index, list(failed))
    block = Block(
        ids=tuple(key(i)[0] for i in rows),
        contents=tuple(key(i)[1] for i in rows),
        attribution=np.stack([blank if i in failed else map_of(i, grid) for i in rows]),
        status=np.where(bad, Status.failed, Status.ok).astype(np.int8),
        reason=tuple(f"picture {i} is truncated" if i in failed else "" for i in rows),
        target=np.where(bad, -1, index),
        target_name=tuple("" if i in failed else f"Klasse {'ß' * (i % 5)}" for i in rows),
        score=np.where(bad, np.nan, index * 0.5).astype(np.float32),
        probability=np.where(bad, np.nan, 0.25).astype(np.float32),
        prediction=np.where(bad, -1, index + 1),
        prediction_name=tuple("" if i in failed else f"class {i + 1}" for i in rows),
        prediction_probability=np.where(bad, np.nan, 0.75).astype(np.float32),
        label=("",) * n,
        view=np.where(bad[:, None], np.nan, [[16.0, 16.0, 240.0, 240.0]]),
        image_size=np.where(bad[:, None], 0, [[256, 300]]).astype(np.int32),
        input_size=np.where(bad[:, None], 0, [[224, 224]]).astype(np.int32),
    )
    return dataclasses.replace(block, **changes) if changes else block


def make_cell(root: Path, identity: dict[str, Any] = IDENTITY) -> CellStore:
    return Store(root).cell("vgg16", "gradcam", identity)


def write(cell: CellStore, rows: Sequence[int], **how: Any) -> Path:
    return cell.write(make_block(rows, **how), ATTRIBUTES, {"host": "here", "seconds": 0.5})
