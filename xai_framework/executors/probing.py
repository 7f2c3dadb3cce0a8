"""Times a batch of one group, so that a plan can say how long it will take."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch

from xai_framework.estimate import passes
from xai_framework.executors.runner import engine_of, tasks_of
from xai_framework.judge import planned
from xai_framework.plan import Group, Unit
from xai_framework.probe import SharedProbe
from xai_framework.registry import Registry
from xai_framework.stop import Stop

_TRIES = 3


@dataclass(frozen=True)
class Probed:
    """Of all units: ``passes`` as they will be made and if each method ran alone, ``seconds`` on one worker.
    ``memory`` is the process's own after the batch, in bytes; ``input_values`` are the numbers of one input.
    """

    passes: int
    passes_alone: int
    seconds: float
    memory: int
    input_values: int


def probe_batch(group: Group, units: Sequence[Unit], registry: Registry) -> Probed:
    """Load the backbone and time one batch, forward and backward. Raises XaiError as a run would."""
    settings = group.job.settings
    tasks = tasks_of(group.cells, registry)
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        engine = engine_of(group, tasks, registry, Stop(), lambda _event: None, "")
        batch = torch.zeros((engine.batch, *engine.input_shape), dtype=engine.dtype, device=engine.device)
        probe = SharedProbe(engine.adapter, next(iter(tasks.values())).target, chunk=engine.batch)
        targets = probe.outputs(batch).argmax(1)
        forward = _fastest(lambda: probe.outputs(batch), engine.device) / engine.batch
        both = _fastest(lambda: probe.layers(batch, targets), engine.device) / engine.batch
    finally:
        torch.set_num_threads(before)
    total = alone = 0
    seconds = 0.0
    for unit in units:
        cost = passes(
            [(planned(tasks[c.store.id].method), id(tasks[c.store.id].target)) for c in unit.cells], engine.input_shape
        )
        total += cost.shared * len(unit.rows)
        alone += cost.unshared * len(unit.rows)
        seconds += len(unit.rows) * (cost.forward * forward + cost.backward * max(0.0, both - forward))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Probed(total, alone, seconds, used, prod(engine.input_shape))


def _fastest(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of a few calls: the others waited for something else."""
    times = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)
