"""Cells of made-up rows: row i is the same wherever it stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xai_framework.core.status import Status
from xai_framework.store import Block, CellStore, Store


def keys(rows: Iterable[int]) -> list[tuple[str, str]]:
    """(id, content) of rows."""
    return [(f"image {i}", f"{i:064x}") for i in rows]


def maps_of(rows: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Their maps."""
    return np.stack([np.random.default_rng(i).standard_normal((1, 24, 24)).astype(np.float32) for i in rows])


def make_cell(root: Path) -> CellStore:
    """A cell in a store."""
    return Store(root).cell("backbone", "method", {"backbone": {"name": "backbone"}, "method": {"name": "method"}})


def write(cell: CellStore, rows: Sequence[int]) -> Path:
    """Store rows as one unit."""
    n = len(rows)
    block = Block(
        ids=tuple(k[0] for k in keys(rows)),
        contents=tuple(k[1] for k in keys(rows)),
        attribution=maps_of(rows),
        status=np.full(n, Status.ok, np.int8),
        reason=("",) * n,
        target=np.array(rows),
        target_name=("",) * n,
        score=np.ones(n, np.float32),
        probability=np.ones(n, np.float32),
        prediction=np.array(rows),
        prediction_name=("",) * n,
        prediction_probability=np.ones(n, np.float32),
        label=("",) * n,
        view=np.tile([0.0, 0.0, 24.0, 24.0], (n, 1)),
        image_size=np.full((n, 2), 24, np.int32),
        input_size=np.full((n, 2), 24, np.int32),
    )
    return cell.write(block, {}, {})
