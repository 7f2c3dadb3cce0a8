"""Puts together what a metric judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_framework.core.dataset import Region, Row
from xai_framework.core.errors import PluginError, StoreError
from xai_framework.core.explainer import Ask, Explainer, Shape
from xai_framework.core.geometry import Geometry
from xai_framework.core.metric import Case, Metric
from xai_framework.core.probe import Probe, Rng
from xai_framework.core.status import Status
from xai_framework.core.target import Score, ScoredTarget
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng
from xai_framework.store import Block, CellStore, MapFile

Seen = tuple[tuple[Region, ...], Geometry]
"""An image's regions, and where the input lies in it."""


def case_of(
    probe: SharedProbe,
    method: Explainer,
    inputs: Tensor,
    targets: Tensor,
    maps: Tensor,
    truth: Sequence[tuple[Region, ...]],
    geometry: Sequence[Geometry],
    rng: NamedRng,
) -> Case:
    """One batch as metrics see it; see :class:`Case`. ``rng`` is the run's own, of which the method drew."""
    plain = targets.ndim == 1 and not targets.is_floating_point()
    return Case(
        probe=probe,
        inputs=inputs,
        targets=targets,
        maps=maps,
        classes=targets if plain else torch.full((len(inputs),), -1, device=inputs.device),
        truth=truth,
        geometry=geometry,
        rng=rng.at("metric"),
        explain=partial(_explain, method, rng.at(type(method).__name__)),
        scored=partial(_scored, probe),
        adapter=probe.adapter,
    )


def _explain(method: Explainer, rng: NamedRng, probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
    return method.explain(probe, inputs, targets, rng)


def _scored(probe: SharedProbe, of: Score) -> Probe:
    target = probe.target
    return probe.under(target.replace(of=of)) if isinstance(target, ScoredTarget) else probe


@dataclass
class _Seen:
    """What is known of the images of the batch at hand, by id."""

    maps: dict[str, NDArray[np.float32] | str] = field(default_factory=dict)
    truth: dict[str, tuple[Region, ...]] = field(default_factory=dict)
    geometry: dict[str, Geometry] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Judged(Explainer):
    """A metric in a method's place: its "map" of an image is one number, NaN where there is none.

    So a metric runs as methods do: in batches with others, alone where the batch fails, in smaller passes where memory
    runs out. ``stored`` is the merged file of the judged maps, whose rows are those of the manifest.
    """

    metric: Metric
    method: Explainer
    stored: Path
    seen: _Seen = field(default_factory=_Seen)

    def __post_init__(self) -> None:
        """These are objects, not config values."""

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The metric's."""
        return self.metric.needs(about)

    @cached_property
    def file(self) -> MapFile:
        """The judged maps. Written by this very run, so its checksum is not asked for again."""
        return MapFile(self.stored, examined=True)

    def attend(self, indices: Sequence[int], rows: Sequence[Row], items: Sequence[Seen | None]) -> None:
        """What the batch at hand consists of: places in the manifest, rows, and what is known of each image."""
        for index, row, item in zip(indices, rows, items, strict=True):
            if self.file.keys[index] != (row.id, row.content):
                raise StoreError(
                    f"row {index} is not {row.id!r}", where=str(self.stored), fix="delete it and run again"
                )
            status = Status(int(self.file.columns["status"][index]))
            why = self.file.columns["reason"][index] or f"the map is {status.name}"
            self.seen.maps[row.id] = self.file.attribution[index] if status == Status.ok else why
            if item is not None:
                self.seen.truth[row.id], self.seen.geometry[row.id] = item

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """(B,1,1,1), float64."""
        if not isinstance(probe, SharedProbe) or not isinstance(rng, NamedRng):
            raise TypeError("metrics are run by the framework's own probe")
        ids = [image for image, _ in rng.rows]
        usable = [i for i, image in enumerate(ids) if not isinstance(self.seen.maps[image], str)]
        values = torch.full((len(ids),), torch.nan, dtype=torch.float64)
        for image in ids:
            if isinstance(why := self.seen.maps[image], str):
                self.seen.reasons[image] = why
        if usable:
            values[usable] = self._measured(probe, inputs, targets, rng, usable)
        return values.view(-1, 1, 1, 1)

    def _measured(
        self, probe: SharedProbe, inputs: Tensor, targets: Tensor, rng: NamedRng, usable: Sequence[int]
    ) -> Tensor:
        if len(usable) < len(inputs):  # else the same objects, about which answers are known
            inputs, targets = inputs[usable], targets[usable]
        rows = tuple(rng.rows[i] for i in usable)
        ids = [image for image, _ in rows]
        maps = np.stack([self.seen.maps[image] for image in ids])
        case = case_of(
            probe,
            self.method,
            inputs,
            targets,
            torch.from_numpy(maps).to(inputs),
            [self.seen.truth.get(image, ()) for image in ids],
            [self.seen.geometry[image] for image in ids],
            replace(rng, rows=rows, stream=()),
        )
        values = self.metric.measure(case)
        if values.shape != (len(ids),) or not values.is_floating_point():
            raise PluginError(f"gives {values.dtype} {tuple(values.shape)}, expected ({len(ids)},) numbers")
        for i, image in enumerate(ids):
            if not bool(values[i].isfinite()):
                self.seen.reasons[image] = case.reasons.get(i, "it is undefined for this map")
        return values.detach().double().cpu()


@dataclass(frozen=True, eq=False)
class _Planned(Explainer):
    """What running a metric takes, for estimates: its own questions, and those of the method that it runs again."""

    judged: Judged

    def __post_init__(self) -> None:
        """An object, not a config value."""

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The method's are asked of other inputs each time, so nobody shares them."""
        times = self.judged.metric.explanations(about)
        again = self.judged.method.needs(about) if times else ()
        return (
            *self.judged.needs(about),
            *(replace(a, of="again", passes=a.passes * times, backwards=a.backwards * times) for a in again),
        )

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """The metric's."""
        return self.judged.explain(probe, inputs, targets, rng)


def planned(method: Explainer) -> Explainer:
    """The same method with everything it will take; not its needs, which say what passes may be shared."""
    return _Planned(method) if isinstance(method, Judged) else method


@dataclass(frozen=True, eq=False)
class Values:
    """Stores what a :class:`Judged` gives: a NaN has its reason, and a zero is a number as good as any."""

    store: CellStore
    judged: Judged

    def write(self, block: Block, attributes: Mapping[str, str], volatile: Mapping[str, Any]) -> object:
        """See :class:`CellStore`."""
        status, reason = block.status.copy(), list(block.reason)
        numbers = block.attribution[:, 0, 0, 0]
        for i, image in enumerate(block.ids):
            if status[i] == Status.zero:
                status[i] = Status.ok
            elif status[i] == Status.nonfinite and image in self.judged.seen.reasons:
                status[i], reason[i] = Status.not_applicable, self.judged.seen.reasons[image]
            elif status[i] == Status.ok and not np.isfinite(numbers[i]):
                status[i] = Status.not_applicable
        return self.store.write(replace(block, status=status, reason=tuple(reason)), dict(attributes), dict(volatile))
