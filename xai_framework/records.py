"""Collects the rows of a unit into the block that is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xai_framework.core.adapter import Prepared
from xai_framework.core.dataset import Row
from xai_framework.core.errors import ImageError, NotApplicable, XaiError
from xai_framework.core.maps import status_of
from xai_framework.core.status import Status
from xai_framework.store import Block

Map = NDArray[np.float32] | Exception


@dataclass
class BatchFacts:
    """What is known of each image of a batch for one target, whatever the method."""

    rows: Sequence[Row]
    prepared: Sequence[Prepared | ImageError]
    labels: tuple[str, ...]
    fields: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Exception | None] = field(default_factory=list)
    finite: list[bool] = field(default_factory=list)

    def judge(self, outputs: Tensor, targets: Tensor, scores: Tensor, unknown: Mapping[int, XaiError]) -> None:
        """Take in the (B,K) outputs, the chosen rows and the (B,) scores; ``unknown`` has no target."""
        probabilities = outputs.double().softmax(1)
        for i, (row, ready) in enumerate(zip(self.rows, self.prepared, strict=True)):
            problem = ready if isinstance(ready, ImageError) else unknown.get(i)
            predicted = int(outputs[i].argmax())
            # only class targets name a class; other rules store no index
            chosen = int(targets[i]) if targets.ndim == 1 and not targets.is_floating_point() else -1
            self.refused.append(problem)
            self.finite.append(bool(outputs[i].isfinite().all()))
            known = problem is None
            self.fields.append(
                {
                    "ids": row.id,
                    "contents": row.content,
                    "target": chosen if known else -1,
                    "target_name": self._name(chosen) if known else "",
                    "score": float(scores[i]) if known else np.nan,
                    "probability": float(probabilities[i, chosen]) if known and chosen >= 0 else np.nan,
                    "prediction": -1 if isinstance(ready, ImageError) else predicted,
                    "prediction_name": "" if isinstance(ready, ImageError) else self._name(predicted),
                    "prediction_probability": np.nan
                    if isinstance(ready, ImageError)
                    else float(probabilities[i, predicted]),
                    "label": self._label(row),
                    "view": ready.geometry.view if isinstance(ready, Prepared) else (np.nan,) * 4,
                    "image_size": ready.geometry.image_size if isinstance(ready, Prepared) else (0, 0),
                    "input_size": ready.geometry.input_size if isinstance(ready, Prepared) else (0, 0),
                }
            )

    def _name(self, index: int) -> str:
        return self.labels[index] if 0 <= index < len(self.labels) else str(index) if index >= 0 else ""

    def _label(self, row: Row) -> str:
        if row.label is None:
            return ""
        return self._name(row.label) if isinstance(row.label, int) else row.label


class CellRows:
    """The rows of one cell so far."""

    def __init__(self) -> None:
        self._fields: list[dict[str, Any]] = []
        self._maps: list[NDArray[np.float32] | None] = []

    def add(self, facts: BatchFacts, maps: Sequence[Map]) -> None:
        """Take in one batch."""
        for i, found in enumerate(maps):
            status, reason, kept = _judged(facts.refused[i], facts.finite[i], found)
            self._fields.append({**facts.fields[i], "status": int(status), "reason": reason})
            self._maps.append(kept)

    def block(self) -> Block:
        """All rows; rows without a map are NaN on the cell's grid (1x1x1 where no row has one)."""
        grid = next((m.shape for m in self._maps if m is not None), (1, 1, 1))
        attribution = np.full((len(self._maps), *grid), np.nan, dtype=np.float32)
        for i, found in enumerate(self._maps):
            if found is not None and found.shape == grid:
                attribution[i] = found
            elif found is not None:
                self._fields[i] |= {"status": int(Status.failed), "reason": f"grid {found.shape} differs from {grid}"}
        columns = {name: [f[name] for f in self._fields] for name in self._fields[0]}
        texts = ("ids", "contents", "target_name", "prediction_name", "label", "reason")
        kinds = {"status": np.int8, "target": np.int64, "prediction": np.int64, "view": np.float64}
        kinds |= {"image_size": np.int32, "input_size": np.int32}
        ready: dict[str, Any] = {
            name: tuple(values) if name in texts else np.asarray(values, dtype=kinds.get(name, np.float32))
            for name, values in columns.items()
        }
        return Block(attribution=attribution, **ready)


def _judged(refused: Exception | None, finite: bool, found: Map) -> tuple[Status, str, NDArray[np.float32] | None]:
    """(status, reason, map or None) of one row."""
    if refused is not None:
        # the blank slot's map says nothing; its grid is kept so that the shard has one
        grid = None if isinstance(found, Exception) else np.full_like(found, np.nan)
        return Status.failed, reason_of(refused), grid
    if not finite:
        grid = None if isinstance(found, Exception) else np.full_like(found, np.nan)
        return Status.nonfinite, "the model's outputs are not finite", grid
    if isinstance(found, NotApplicable):
        return Status.not_applicable, reason_of(found), None
    if isinstance(found, Exception):
        return Status.failed, reason_of(found), None
    status = status_of(found)
    return status, "the map is not finite" if status == Status.nonfinite else "", found


def reason_of(error: Exception) -> str:
    """One line for the store: what a reader needs, without a traceback."""
    text = str(error) if isinstance(error, XaiError | NotApplicable) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:400]
