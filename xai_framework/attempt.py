"""Runs methods on a batch, whatever they do: raise, exit, fork, change the model, or need more memory than there is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_framework.core.errors import NotApplicable, PluginError
from xai_framework.core.explainer import Explainer, Sampled
from xai_framework.core.target import Target
from xai_framework.guard import Guard, Habits, Lent
from xai_framework.memory import out_of_memory, release_memory
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng
from xai_framework.stop import Interrupted
from xai_framework.store import Block

Maps = Tensor | Exception
Found = list[NDArray[np.float32] | Exception]
"""A map, or the reason why there is none, for each row."""

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


@dataclass(frozen=True)
class Batch:
    """What the methods of one target are asked about."""

    probe: SharedProbe
    inputs: Tensor
    targets: Tensor
    rng: NamedRng


class Attempts:
    """Explains batches on one model. ``limits`` are the most rows in a pass, by method, where memory ran out before:
    they are remembered, so that it runs out once and not for every batch.
    """

    def __init__(self, guard: Guard, tell: Callable[[dict[str, Any]], None]) -> None:
        self.limits: dict[str, int] = {}
        self._guard, self._tell = guard, tell
        self._lent = Lent()

    def explain(self, tasks: Sequence[Task], batch: Batch) -> dict[Task, Found]:
        """The maps of all methods of one target; sampled methods advance together, draw by draw."""
        self._lent = Lent(batch.inputs, batch.targets)
        done: dict[Task, Maps] = {}
        running = {}
        for task in tasks:
            if task.label in self.limits:
                continue
            stream = _stream(task, batch.rng)
            if isinstance(task.method, Sampled):
                running[task] = task.method.steps(batch.probe, batch.inputs, batch.targets, stream)
            else:
                call = partial(task.method.explain, batch.probe, batch.inputs, batch.targets, stream)
                outcome = self._attempt(task, batch, call)
                done[task] = _NOTHING if outcome is None else outcome
        while running:
            for task in list(running):
                outcome = self._attempt(task, batch, partial(_advance, running[task]))
                if outcome is not None:
                    done[task] = outcome
                    del running[task]
            batch.rng.handouts.end_step()
        for task in tasks:
            if task not in done or _ran_out(done[task]):
                done[task] = self._with_less(task, batch)
        return {task: self._rows_of(task, done[task], batch) for task in tasks}

    def _attempt(self, task: Task, batch: Batch, call: Callable[[], Maps | None]) -> Maps | None:
        """What the call gives, or the exception it raised; the model is as before either way."""
        outcome: Maps | None
        process, habits = os.getpid(), Habits()
        try:
            with batch.probe.counts.used_by(task):
                outcome = call()
        except SystemExit as error:
            outcome = PluginError(f"called sys.exit({error.code!r})", where=f"method {task.label}")
        except (Interrupted, KeyboardInterrupt, GeneratorExit):
            raise
        except Exception as error:  # a plugin may raise anything; its rows are stored as failed with the reason
            # without its traceback, whose frames would keep every tensor of the failed pass alive
            outcome = error.with_traceback(None)
            outcome.__context__ = outcome.__cause__ = None
        except BaseException as error:
            outcome = PluginError(f"raised {type(error).__name__}: {error}", where=f"method {task.label}")
        if os.getpid() != process:  # a method forked, and this is the child: it must not go on as if it were the run
            os._exit(1)
        habits.restore()
        if isinstance(outcome, Tensor):
            outcome = batch.rng.handouts.own(outcome)
        if batch.rng.handouts.written() | self._lent.restore():
            outcome = PluginError("wrote into a tensor that other methods are given too", where=f"method {task.label}")
            batch.rng.handouts.drop_answers()
        try:
            self._guard.check(f"method {task.label}", values=outcome is not None)
        except PluginError as error:
            outcome = error
            batch.rng.handouts.drop_answers()
            batch.probe.start_over()
        return outcome

    def _with_less(self, task: Task, batch: Batch) -> Maps:
        """The task's maps in passes of half as many rows, and half again, as long as memory runs out."""
        chunk = self.limits.get(task.label) or self._halved(task, batch.probe.chunk)
        while True:
            batch.rng.handouts.drop_answers()
            # a copy is unknown to the handouts, so that nothing about it is kept
            inputs, probe = batch.inputs.clone(), batch.probe.smaller(chunk)
            call = partial(task.method.explain, probe, inputs, batch.targets, _stream(task, batch.rng))
            outcome = self._attempt(task, batch, call)
            if outcome is None or not _ran_out(outcome) or chunk == 1:
                return _NOTHING if outcome is None else outcome
            chunk = self._halved(task, chunk)

    def _halved(self, task: Task, chunk: int) -> int:
        """Less from now on; told once for each size."""
        less = max(1, chunk // 2)
        self.limits[task.label] = less
        release_memory()
        self._tell({"event": "out_of_memory", "method": task.label, "rows_in_a_pass": less})
        return less

    def _rows_of(self, task: Task, maps: Maps, batch: Batch) -> Found:
        if isinstance(maps, Exception):
            if isinstance(maps, NotApplicable | PluginError) or len(batch.inputs) == 1:
                return [maps] * len(batch.inputs)
            return [self._alone(task, batch, i) for i in range(len(batch.inputs))]
        problem = shape_problem(maps, batch.inputs)
        if problem:
            return [PluginError(problem, where=f"method {task.label}")] * len(batch.inputs)
        return list(maps.detach().to("cpu", torch.float32).numpy())

    def _alone(self, task: Task, batch: Batch, i: int) -> NDArray[np.float32] | Exception:
        """One row by itself, to find the one at fault and to keep the others."""
        stream = _stream(task, NamedRng(batch.rng.seed, batch.rng.rows[i : i + 1]))
        row, target = batch.inputs[i : i + 1].clone(), batch.targets[i : i + 1]
        probe = batch.probe.smaller(self.limits.get(task.label, batch.probe.chunk))
        maps = self._attempt(task, batch, lambda: task.method.explain(probe, row, target, stream))
        if maps is None or isinstance(maps, Exception):
            return maps or PluginError("returned None", where=f"method {task.label}")
        problem = shape_problem(maps, row)
        return PluginError(problem) if problem else maps.detach().to("cpu", torch.float32).numpy()[0]


def shape_problem(maps: object, inputs: Tensor) -> str:
    """Why this is no batch of maps; empty where it is."""
    if not isinstance(maps, Tensor):
        return f"returned {type(maps).__name__}, expected a tensor (batch, channels, height, width)"
    if maps.ndim != 4 or len(maps) != len(inputs) or 0 in maps.shape:
        return f"returned shape {tuple(maps.shape)} for inputs {tuple(inputs.shape)}, expected (batch, channels, h, w)"
    if not maps.is_floating_point():
        return f"returned {maps.dtype}, expected floating point"
    return ""


def _ran_out(outcome: Maps) -> bool:
    return isinstance(outcome, Exception) and out_of_memory(outcome)


def _stream(task: Task, rng: NamedRng) -> NamedRng:
    return rng.at(type(task.method).__name__)


def _advance(steps: Iterator[None]) -> Tensor | PluginError | None:
    try:
        next(steps)
    except StopIteration as stop:
        return _NOTHING if stop.value is None else stop.value
    return None
