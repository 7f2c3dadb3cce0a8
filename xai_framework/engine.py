"""Computes one unit: pictures -> batch -> probe -> methods -> store."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import xai_framework
from xai_framework.core.adapter import ModelAdapter, Prepared
from xai_framework.core.dataset import Dataset, Row
from xai_framework.core.errors import ImageError, ModelError, NotApplicable, PluginError, TargetError, does_not_run
from xai_framework.core.explainer import CLEAN, Ask, Explainer, Sampled, Shape
from xai_framework.core.target import About, Target
from xai_framework.guard import Guard
from xai_framework.handout import Handouts
from xai_framework.probe import Counts, SharedProbe
from xai_framework.records import BatchFacts, CellRows
from xai_framework.rng import NamedRng
from xai_framework.store import Block

Maps = Tensor | Exception

_NOTHING = PluginError("returned NoneType, expected a tensor (batch, channels, height, width)")


class Sink(Protocol):
    """Where the rows of one cell go; a CellStore, or memory."""

    def write(self, block: Block, attributes: dict[str, str], volatile: dict[str, Any]) -> object:
        """Take in one unit's rows."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """One cell ready to run."""

    label: str
    method: Explainer
    target: Target
    store: Sink
    attributes: dict[str, str] = field(default_factory=dict)


def rows_per_pass(shape: Sequence[int]) -> int:
    """The most rows in one pass: a power of two up to 32 that keeps a batch of inputs near 8 MB of float32.

    A rule of sizes alone, never of timing or of the methods at hand, so results are the same on every run.
    """
    values = int(np.prod(shape))
    fitting = max(1, (1 << 21) // max(1, values))
    return int(min(32, 1 << (fitting.bit_length() - 1)))


class Engine:
    """One backbone on one dataset. Construction loads the model and checks all that can be checked without an image.

    Raises WeightsError, LayerError, TargetError or ModelError: mistakes that concern every image.
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
    ) -> None:
        """``chooser``: the backbone whose outputs choose the targets, where it is not the explained one."""
        self.adapter, self.dataset, self.rows, self.seed = adapter, dataset, rows, seed
        self.chooser = chooser or adapter
        self.counts = Counts()
        self.references: dict[str, Tensor] = {}
        parameter = next(adapter.model.parameters(), None)
        self.dtype = parameter.dtype if parameter is not None else torch.float32
        self.device = torch.device(device)
        adapter.model.to(self.device)
        self.chooser.model.to(self.device)
        self.input_shape = (adapter.preprocess.channels, *adapter.preprocess.geometry((224, 224)).input_size)
        self.batch = batch or rows_per_pass(self.input_shape)
        self.guard = Guard(adapter.model)
        self._check(tasks)

    def _check(self, tasks: Sequence[Task]) -> None:
        blank = torch.zeros((1, *self.input_shape), dtype=self.dtype, device=self.device)
        for target in {id(t.target): t.target for t in tasks}.values():
            probe = SharedProbe(self.adapter, target)
            try:
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

    def run(self, rows: Sequence[int], tasks: Sequence[Task]) -> None:
        """Compute ``rows`` of all ``tasks`` and store one shard each."""
        start = time.monotonic()
        collected = {id(t): CellRows() for t in tasks}
        for first in range(0, len(rows), self.batch):
            self._batch([self.rows[i] for i in rows[first : first + self.batch]], rows[first:], tasks, collected)
        volatile = {
            "seconds": time.monotonic() - start,
            "host": platform.node(),
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "batch": self.batch,
            "torch": torch.__version__,
            "xai_framework": xai_framework.__version__,
        }
        for task in tasks:
            task.store.write(collected[id(task)].block(), task.attributes, volatile)

    def _batch(
        self, rows: Sequence[Row], indices: Sequence[int], tasks: Sequence[Task], collected: dict[int, CellRows]
    ) -> None:
        """One micro-batch: every target once, its methods together."""
        prepared = [self._prepare(i, row) for i, row in zip(indices, rows, strict=False)]
        if not any(isinstance(p, Prepared) for p in prepared):
            self._nothing_readable(rows, prepared, tasks, collected)
            return
        shape = next((tuple(p.inputs.shape) for p in prepared if isinstance(p, Prepared)), self.input_shape)
        prepared = [_same_size(p, shape) for p in prepared]
        # an unreadable picture keeps a blank slot, so that its neighbours' batch stays the same
        blank = torch.zeros(shape)
        slots = [p.inputs if isinstance(p, Prepared) else blank for p in prepared]
        inputs = torch.stack(slots).to(self.device, self.dtype)
        handouts = Handouts()
        handouts.keep(inputs, CLEAN)
        rng = NamedRng.of(self.seed, [r.id for r in rows], handouts)
        asks = _united([a for t in tasks for a in t.method.needs(_shape_of(inputs))])
        for target in {id(t.target): t.target for t in tasks}.values():
            probe = SharedProbe(
                self.adapter,
                target,
                chunk=self.batch,
                handouts=handouts,
                asks=asks,
                references=self.references,
                counts=self.counts,
            )
            facts = BatchFacts(rows, prepared, self.adapter.labels)
            about = [About(r.id, r.label, self.adapter.labels) for r in rows]
            choosing = probe if self.chooser is self.adapter else probe.on(self.chooser)
            targets, unknown = choose(choosing, target, inputs, about)
            mine = [t for t in tasks if t.target is target]
            if len(unknown) == len(rows):  # placeholders of no known shape: there is nothing to score or explain
                facts.judge(probe.outputs(inputs), targets, torch.zeros(len(rows)), unknown)
                for task in mine:
                    collected[id(task)].add(facts, list(unknown.values()))
                continue
            facts.judge(probe.outputs(inputs), targets, probe.score(inputs, targets), unknown)
            for task, maps in self._explain(mine, probe, inputs, targets, rng).items():
                collected[id(task)].add(facts, maps)
        handouts.clear()

    def _nothing_readable(
        self,
        rows: Sequence[Row],
        prepared: Sequence[Prepared | ImageError],
        tasks: Sequence[Task],
        collected: dict[int, CellRows],
    ) -> None:
        """A batch without one usable picture costs no pass."""
        facts = BatchFacts(rows, prepared, self.adapter.labels)
        nowhere = torch.zeros((len(rows), 1))
        facts.judge(nowhere, torch.zeros(len(rows), dtype=torch.int64), nowhere[:, 0], {})
        for task in tasks:
            collected[id(task)].add(facts, [ImageError("no picture")] * len(rows))

    def _prepare(self, index: int, row: Row) -> Prepared | ImageError:
        if row.reason:
            return ImageError(row.reason)
        try:
            return self.adapter.prepare(self.dataset[index].image)
        except ImageError as error:
            return error

    def _explain(
        self, tasks: Sequence[Task], probe: SharedProbe, inputs: Tensor, targets: Tensor, rng: NamedRng
    ) -> dict[Task, list[NDArray[np.float32] | Exception]]:
        """The maps of all methods of one target; sampled methods advance together, draw by draw."""
        done: dict[Task, Maps] = {}
        running = {}
        for task in tasks:
            stream = rng.at(type(task.method).__name__)
            if isinstance(task.method, Sampled):
                running[task] = task.method.steps(probe, inputs, targets, stream)
            else:
                call = partial(task.method.explain, probe, inputs, targets, stream)
                outcome = self._attempt(task, rng.handouts, call)
                done[task] = _NOTHING if outcome is None else outcome
        while running:
            for task in list(running):
                outcome = self._attempt(task, rng.handouts, partial(_advance, running[task]))
                if outcome is not None:
                    done[task] = outcome
                    del running[task]
            rng.handouts.end_step()
        return {task: self._rows_of(task, done[task], probe, inputs, targets, rng) for task in tasks}

    def _attempt(self, task: Task, handouts: Handouts, call: Callable[[], Maps | None]) -> Maps | None:
        """What the call gives, or the exception it raised; the model is as before either way."""
        outcome: Maps | None
        try:
            outcome = call()
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a plugin may raise anything; its rows are stored as failed with the reason
            outcome = error
        try:
            self.guard.check(f"method {task.label}")
        except PluginError as error:
            outcome = error
            handouts.drop_answers()
        return outcome

    def _rows_of(
        self, task: Task, maps: Maps, probe: SharedProbe, inputs: Tensor, targets: Tensor, rng: NamedRng
    ) -> list[NDArray[np.float32] | Exception]:
        """One map, or the reason why there is none, for each row."""
        if isinstance(maps, Exception):
            if isinstance(maps, NotApplicable | PluginError) or len(inputs) == 1:
                return [maps] * len(inputs)
            return [self._alone(task, probe, inputs, targets, rng, i) for i in range(len(inputs))]
        problem = _shape_problem(maps, inputs)
        if problem:
            return [PluginError(problem, where=f"method {task.label}")] * len(inputs)
        return list(maps.detach().to("cpu", torch.float32).numpy())

    def _alone(
        self, task: Task, probe: SharedProbe, inputs: Tensor, targets: Tensor, rng: NamedRng, i: int
    ) -> NDArray[np.float32] | Exception:
        """One row by itself, to find the one at fault and to keep the others."""
        stream = NamedRng(rng.seed, rng.rows[i : i + 1]).at(type(task.method).__name__)
        row, target = inputs[i : i + 1].clone(), targets[i : i + 1]
        maps = self._attempt(task, rng.handouts, lambda: task.method.explain(probe, row, target, stream))
        if maps is None or isinstance(maps, Exception):
            return maps or PluginError("returned None", where=f"method {task.label}")
        problem = _shape_problem(maps, row)
        return PluginError(problem) if problem else maps.detach().to("cpu", torch.float32).numpy()[0]


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


def _advance(steps: Iterator[None]) -> Tensor | PluginError | None:
    try:
        next(steps)
    except StopIteration as stop:
        return _NOTHING if stop.value is None else stop.value
    return None


def _same_size(prepared: Prepared | ImageError, shape: tuple[int, ...]) -> Prepared | ImageError:
    if isinstance(prepared, Prepared) and tuple(prepared.inputs.shape) != shape:
        got = "x".join(map(str, prepared.inputs.shape[1:]))
        want = "x".join(map(str, shape[1:]))
        return ImageError(
            f"becomes an input of {got}, the others of its batch {want}",
            fix="set an exact resize or a crop in the backbone's preprocessing",
        )
    return prepared


def _shape_problem(maps: object, inputs: Tensor) -> str:
    """Why this is no batch of maps; empty where it is."""
    if not isinstance(maps, Tensor):
        return f"returned {type(maps).__name__}, expected a tensor (batch, channels, height, width)"
    if maps.ndim != 4 or len(maps) != len(inputs) or 0 in maps.shape:
        return f"returned shape {tuple(maps.shape)} for inputs {tuple(inputs.shape)}, expected (batch, channels, h, w)"
    if not maps.is_floating_point():
        return f"returned {maps.dtype}, expected floating point"
    return ""
