"""Computes a few images in float32 and in bfloat16, and says how far the maps agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xai_framework.core.errors import ConfigError, XaiError
from xai_framework.core.status import Status
from xai_framework.executors.runner import check_device, engine_of, tasks_of
from xai_framework.memory import out_of_memory, release_memory
from xai_framework.plan import Group
from xai_framework.registry import Registry
from xai_framework.statistics.likeness import spearman
from xai_framework.stop import Interrupted, Stop
from xai_framework.store import Block

_MAPS = (Status.ok, Status.zero)


@dataclass(frozen=True)
class Compared:
    """One image's maps in both precisions. ``spearman`` is the rank correlation of all their signed values, None where
    there is none; ``same_prediction`` whether the network's first class is the same. ``comparable`` is False where
    float32 itself gives no map, ``note`` says what stands in the way.
    """

    image: str
    content: str
    spearman: float | None
    same_prediction: bool
    comparable: bool = True
    note: str = ""


@dataclass(frozen=True)
class Trial:
    """``images`` by cell id. ``broken``: why the network as a whole does not run in bfloat16; ``device``: where it was
    tried.
    """

    images: dict[str, tuple[Compared, ...]]
    device: str
    broken: str = ""


@dataclass
class _Memory:
    """Keeps the one block of a cell instead of writing it."""

    blocks: list[Block] = field(default_factory=list)

    def write(self, block: Block, attributes: dict[str, str], volatile: dict[str, Any]) -> None:
        self.blocks.append(block)


def trial(group: Group, rows: Sequence[int], registry: Registry, stop: Stop) -> Trial:
    """Compute ``rows`` of a float32 group's cells twice; nothing is stored. Raises what float32 raises, and Interrupted
    where a signal arrived.
    """
    device = _device(group.job.settings.device)
    before = torch.get_num_threads()
    torch.set_num_threads(group.job.settings.threads)
    try:
        full = _computed(group, rows, registry, stop, device)
        try:
            settings = replace(group.job.settings, precision="bfloat16")
            reduced = _computed(replace(group, job=replace(group.job, settings=settings)), rows, registry, stop, device)
        except Exception as error:  # whatever a network of strangers does with numbers that it was not made for
            if stop.asked or out_of_memory(error) or isinstance(error, OSError):
                raise  # this machine's fault today, not the network's
            what = f"fails in bfloat16 ({type(error).__name__}: {error})"
            return Trial({}, device, " ".join((error.what if isinstance(error, XaiError) else what).split())[:400])
    finally:
        torch.set_num_threads(before)
        release_memory()
    found = {
        cell: tuple(_compared(block, reduced[cell], i) for i in range(len(block.ids))) for cell, block in full.items()
    }
    return Trial(found, device)


def _device(name: str) -> str:
    """Where to try: the study's device, or the processor where it is on other machines only."""
    try:
        check_device(name)
    except ConfigError:
        return "cpu"
    return name


def _computed(group: Group, rows: Sequence[int], registry: Registry, stop: Stop, device: str) -> dict[str, Block]:
    memories = {c.store.id: _Memory() for c in group.cells}
    tasks = {cell: replace(task, store=memories[cell]) for cell, task in tasks_of(group.cells, registry).items()}
    engine = engine_of(group, tasks, registry, stop, lambda _event: None, device)
    ran = engine.run(rows, list(tasks.values()))
    if stop.asked or not ran.complete:  # a failure may be the signal's doing, and must not be taken for the method's
        raise Interrupted(stop.reason)
    return {cell: memory.blocks[0] for cell, memory in memories.items()}


def _compared(full: Block, reduced: Block, i: int) -> Compared:
    said = (full.ids[i], full.contents[i])
    same = int(full.prediction[i]) == int(reduced.prediction[i])
    status, now = Status(int(full.status[i])), Status(int(reduced.status[i]))
    if status not in _MAPS:
        return Compared(*said, None, same, comparable=False, note=full.reason[i] or f"the map is {status.name}")
    if now not in _MAPS:
        return Compared(*said, None, same, note=f"{now.name}: {reduced.reason[i]}")
    a, b = full.attribution[i], reduced.attribution[i]
    if a.shape != b.shape:
        return Compared(*said, None, same, note=f"the map is of {b.shape}, not of {a.shape}")
    rho = _correlation(a, b)
    return Compared(*said, rho, same, note="" if rho is not None else "one of the maps is the same everywhere")


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    """Spearman's; 1 for two maps that are the same everywhere, None where only one is."""
    flat = [bool((m == m.flat[0]).all()) for m in (first, second)]
    if any(flat):
        return 1.0 if all(flat) else None
    rho = spearman(first.astype(np.float64), second.astype(np.float64))
    return None if math.isnan(rho) else rho
