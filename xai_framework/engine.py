"""Computes one unit: pictures -> batch -> probe -> methods -> store."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import xai_framework
from xai_framework.attempt import Attempts, Batch, Task
from xai_framework.core.adapter import ModelAdapter, Prepared
from xai_framework.core.dataset import Dataset, Region, Row
from xai_framework.core.errors import ConfigError, ImageError, ModelError, TargetError, XaiError, does_not_run
from xai_framework.core.explainer import CLEAN, Ask, Shape
from xai_framework.core.status import Status
from xai_framework.core.target import About, Target
from xai_framework.fast.batch import Largest, rows_per_pass
from xai_framework.fast.ways import Ways
from xai_framework.guard import Guard
from xai_framework.handout import Handouts
from xai_framework.judge import Judged
from xai_framework.memory import out_of_memory, release_memory
from xai_framework.meter import Counts, Spent
from xai_framework.probe import SharedProbe
from xai_framework.records import BatchFacts, CellRows
from xai_framework.rng import NamedRng
from xai_framework.stop import Interrupted, Stop
from xai_framework.store import COST, HALVED

Taken = dict[Task, tuple[BatchFacts, Sequence[NDArray[np.float32] | Exception]]]
"""What one micro-batch gave each task."""


@dataclass(frozen=True)
class Ran:
    """What running a unit came to: rows that were stored for each task, and of all maps how many failed.

    ``complete`` is False where it was asked to stop: then the micro-batches that were finished are stored. ``bytes``
    are those of the maps.
    """

    rows: int
    maps: int
    failed: int
    complete: bool
    bytes: int


class Engine:
    """One backbone on one dataset. Construction loads the model and checks all that can be checked without an image.

    Raises WeightsError, LayerError, TargetError, ModelError or ConfigError: mistakes that concern every image.
    """

    def __init__(
        self,
        adapter: ModelAdapter,
        dataset: Dataset,
        rows: Sequence[Row],
        tasks: Sequence[Task],
        *,
        chooser: ModelAdapter | None = None,
        seed: int = 0,
        device: str = "cpu",
        batch: int | None = None,
        stop: Stop | None = None,
        tell: Callable[[dict[str, Any]], None] = lambda _event: None,
    ) -> None:
        """``chooser``: the backbone whose outputs choose the targets, where it is not the explained one. ``stop`` says
        when to stop at the next safe point, ``tell`` is told what happens on the way.
        """
        if len(dataset) != len(rows):
            raise _changed(f"it holds {len(dataset)} images, not {len(rows)}")
        self.stop, self.tell = stop or Stop(), tell
        self.adapter, self.dataset, self.rows, self.seed = adapter, dataset, rows, seed
        self.chooser = chooser or adapter
        self.counts = Counts(before_pass=self.stop.check)
        self.references: dict[str, Tensor] = {}
        self._judges = any(isinstance(t.method, Judged) for t in tasks)
        self._truth: dict[str, tuple[Region, ...]] = {}
        self.dtype = adapter.input_dtype
        self.device = torch.device(device)
        adapter.model.to(self.device)
        self.chooser.model.to(self.device)
        self.input_shape = (adapter.preprocess.channels, *adapter.preprocess.geometry((224, 224)).input_size)
        if self.device.type == "cuda":
            self.counts.wait = partial(torch.cuda.synchronize, self.device)
        self.attempts = Attempts(Guard(adapter.model), tell)
        self.ways, self._chooser_ways = Ways(adapter), Ways(self.chooser)
        self.batch = batch or rows_per_pass(self._check(tasks))
        self.chunk = self.batch

    def _check(self, tasks: Sequence[Task]) -> int:
        """Returns how many bytes the largest activation of a row has."""
        largest = Largest()
        blank = torch.zeros((1, *self.input_shape), dtype=self.dtype, device=self.device)
        for target in {id(t.target): t.target for t in tasks}.values():
            probe = SharedProbe(self.adapter, target)
            try:
                with largest:
                    classes = probe.outputs(blank).shape[1]
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, AssertionError, ValueError) as error:  # networks refuse a size in many ways
                raise does_not_run(tuple(blank.shape), error) from error
            if self.adapter.labels and len(self.adapter.labels) != classes:
                raise ModelError(
                    f"the backbone names {len(self.adapter.labels)} classes, but gives {classes} outputs",
                    fix="give the labels that belong to these weights",
                )
            target.check(self.adapter.labels, classes)
        layers: tuple[str, ...] = ()
        for task in tasks:
            mine = tuple(layer for ask in task.method.needs(Shape(self.input_shape)) for layer in ask.layers)
            if mine:
                task.attributes["layers"] = json.dumps({n: self.adapter.layer(n).name for n in mine}, sort_keys=True)
            layers = tuple(dict.fromkeys((*layers, *mine)))
        if layers:  # they must exist, run, and give a grid
            probe = SharedProbe(self.adapter, tasks[0].target)
            probe.layers(blank, torch.zeros(1, dtype=torch.int64, device=self.device), layers, grads=False)
        return max(largest.bytes, blank.numel() * blank.element_size())

    def run(self, rows: Sequence[int], tasks: Sequence[Task]) -> Ran:
        """Compute ``rows`` of all ``tasks`` and store one shard each.

        Asked to stop, it stores the micro-batches that are finished.
        """
        start = time.monotonic()
        collected = {t: CellRows() for t in tasks}
        self.counts.spent.clear()
        done = 0
        with contextlib.suppress(Interrupted):  # raised by the probe where a micro-batch takes too long to wait for
            for first in range(0, len(rows), self.batch):
                if self.stop.asked:
                    break
                taken = self._with_memory([self.rows[i] for i in rows[first : first + self.batch]], rows[first:], tasks)
                for task, (facts, maps) in taken.items():
                    collected[task].add(facts, maps)
                done = min(len(rows), first + self.batch)
        failed, size = self._store(collected, time.monotonic() - start) if done else (0, 0)
        return Ran(done, done * len(tasks), failed, done == len(rows), size)

    def _store(self, collected: Mapping[Task, CellRows], seconds: float) -> tuple[int, int]:
        """One shard for each task; returns how many maps failed, and the bytes of all."""
        volatile = {
            "seconds": seconds,
            "host": platform.node(),
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "batch": self.batch,
            "torch": torch.__version__,
            "xai_framework": xai_framework.__version__,
        }
        failed = size = 0
        for task, found in collected.items():
            block = found.block()
            failed += int((block.status == Status.failed).sum())
            size += block.attribution.nbytes
            less = self.attempts.limits.get(task.label) or (self.chunk if self.chunk < self.batch else None)
            # marked, since sums in passes of other sizes are the same up to rounding only
            halved = {HALVED: str(less)} if less else {}
            cost = {"images": len(block.ids), **asdict(self.counts.spent.get(task, Spent()))}
            task.store.write(block, {**task.attributes, **halved}, {**volatile, COST: cost})
        return failed, size

    def _with_memory(self, rows: Sequence[Row], indices: Sequence[int], tasks: Sequence[Task]) -> Taken:
        """One micro-batch, in smaller passes where memory runs out outside of any method."""
        while True:
            try:
                return self._batch(rows, indices, tasks)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or self.chunk == 1:
                    raise
            release_memory()
            self.chunk = max(1, self.chunk // 2)
            self.tell({"event": "out_of_memory", "rows_in_a_pass": self.chunk})

    def _batch(self, rows: Sequence[Row], indices: Sequence[int], tasks: Sequence[Task]) -> Taken:
        """One micro-batch: every target once, its methods together."""
        prepared = [self._prepare(i, row) for i, row in zip(indices, rows, strict=False)]
        if not any(isinstance(p, Prepared) for p in prepared):
            return self._nothing_readable(rows, prepared, tasks)
        shape = next((tuple(p.inputs.shape) for p in prepared if isinstance(p, Prepared)), self.input_shape)
        prepared = [_same_size(p, shape) for p in prepared]
        # an unreadable picture keeps a blank slot, so that its neighbours' batch stays the same
        blank = torch.zeros(shape)
        slots = [p.inputs if isinstance(p, Prepared) else blank for p in prepared]
        inputs = torch.stack(slots).to(self.device, self.dtype)
        self._attend(indices, rows, prepared, tasks)
        handouts, others = Handouts(), Handouts()
        for known in (handouts, others):  # of the explained backbone, and of the one that chooses
            known.keep(inputs, CLEAN)
        rng = NamedRng.of(self.seed, [r.id for r in rows], handouts)
        asks = _united([a for t in tasks for a in t.method.needs(_shape_of(inputs))])
        taken: Taken = {}
        all_targets = {id(t.target): t.target for t in tasks}.values()
        for target in all_targets:
            probe = SharedProbe(
                self.adapter,
                target,
                chunk=self.chunk,
                handouts=handouts,
                asks=asks,
                references=self.references,
                counts=self.counts,
                ways=self.ways,
                others=len(all_targets) > 1,
            )
            facts = BatchFacts(rows, prepared, self.adapter.labels)
            about = [About(r.id, r.label, self.adapter.labels) for r in rows]
            choosing = probe if self.chooser is self.adapter else self._choosing(target, others)
            targets, unknown = choose(choosing, target, inputs, about)
            mine = [t for t in tasks if t.target is target]
            if len(unknown) == len(rows):  # placeholders of no known shape: there is nothing to score or explain
                facts.judge(probe.outputs(inputs), targets, torch.zeros(len(rows)), unknown)
                taken |= {task: (facts, list(unknown.values())) for task in mine}
                continue
            facts.judge(probe.outputs(inputs), targets, probe.score(inputs, targets), unknown)
            found = self.attempts.explain(mine, Batch(probe, inputs, targets, rng))
            taken |= {task: (facts, found[task]) for task in mine}
        handouts.clear()
        return taken

    def _choosing(self, target: Target, known: Handouts) -> SharedProbe:
        """Asks the other backbone; its outputs serve all targets."""
        return SharedProbe(
            self.chooser, target, chunk=self.chunk, handouts=known, counts=self.counts, ways=self._chooser_ways
        )

    def _nothing_readable(
        self, rows: Sequence[Row], prepared: Sequence[Prepared | ImageError], tasks: Sequence[Task]
    ) -> Taken:
        """A batch without one usable picture costs no pass."""
        facts = BatchFacts(rows, prepared, self.adapter.labels)
        nowhere = torch.zeros((len(rows), 1))
        facts.judge(nowhere, torch.zeros(len(rows), dtype=torch.int64), nowhere[:, 0], {})
        return {task: (facts, [ImageError("no picture")] * len(rows)) for task in tasks}

    def _attend(
        self,
        indices: Sequence[int],
        rows: Sequence[Row],
        prepared: Sequence[Prepared | ImageError],
        tasks: Sequence[Task],
    ) -> None:
        """Tell metrics what the batch consists of."""
        judged = [t.method for t in tasks if isinstance(t.method, Judged)]
        if not judged:
            return
        items = [
            (self._truth[row.id], p.geometry) if isinstance(p, Prepared) else None
            for row, p in zip(rows, prepared, strict=True)
        ]
        for one in judged:
            one.attend(indices[: len(rows)], rows, items)
        self._truth.clear()

    def _prepare(self, index: int, row: Row) -> Prepared | ImageError:
        if row.reason:
            return ImageError(row.reason)
        try:
            item = self.dataset[index]
            if item.id != row.id:  # it lists its pictures anew in each process, and one was added or removed since
                raise _changed(f"{item.id!r} stands where {row.id!r} stood")
            if item.content and item.content != row.content:
                raise ImageError("was changed after the run was planned", where=row.id, fix=_AGAIN)
            if self._judges:
                self._truth[row.id] = item.truth
            return self.adapter.prepare(item.image)
        except ImageError as error:
            return error
        except (MemoryError, XaiError):
            raise
        except Exception as error:  # a dataset's own code may raise anything; it is this image's fault alone
            return ImageError(f"cannot be read: {type(error).__name__}: {error}")


def _changed(how: str) -> ConfigError:
    """Indices no longer mean what they meant: nothing can be computed that would not be stored under wrong names."""
    return ConfigError(f"changed after the run was planned: {how}", where="dataset", fix=_AGAIN)


_AGAIN = "run the same command again; it goes on with the pictures there are now"


def choose(
    probe: SharedProbe, target: Target, inputs: Tensor, about: Sequence[About]
) -> tuple[Tensor, dict[int, TargetError]]:
    """The batch's target rows, and the images that have none (their row is a placeholder)."""
    outputs = probe.outputs(inputs)
    try:
        return target.choose(outputs, about, probe), {}
    except TargetError:
        pass  # at least one image has no such target: find out which
    chosen: list[Tensor | None] = []
    unknown: dict[int, TargetError] = {}
    for i, image in enumerate(about):
        try:
            chosen.append(target.choose(outputs[i : i + 1], [image], probe)[0])
        except TargetError as error:
            unknown[i] = error
            chosen.append(None)
    some = next((c for c in chosen if c is not None), outputs.new_zeros((), dtype=torch.int64))
    return torch.stack([torch.zeros_like(some) if c is None else c for c in chosen]), unknown


def _united(asks: Sequence[Ask]) -> dict[object, list[Ask]]:
    united: dict[object, list[Ask]] = {}
    for ask in asks:
        united.setdefault(ask.of, []).append(ask)
    return united


def _shape_of(inputs: Tensor) -> Shape:
    channels, height, width = inputs.shape[1:]
    return Shape((channels, height, width))


def _same_size(prepared: Prepared | ImageError, shape: tuple[int, ...]) -> Prepared | ImageError:
    if isinstance(prepared, Prepared) and tuple(prepared.inputs.shape) != shape:
        got = "x".join(map(str, prepared.inputs.shape[1:]))
        want = "x".join(map(str, shape[1:]))
        return ImageError(
            f"becomes an input of {got}, the others of its batch {want}",
            fix="set an exact resize or a crop in the backbone's preprocessing",
        )
    return prepared
