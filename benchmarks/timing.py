"""Seconds and memory of things done side by side: interleaved, so that a slow minute of the machine is everybody's."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

Work = Callable[[], object]


@dataclass(frozen=True)
class Clock:
    """Process CPU time, which other jobs on the machine hardly touch; or wall time, for several threads."""

    wall: bool = False

    def seconds(self, work: Work) -> float:
        """What one call takes."""
        now = time.perf_counter if self.wall else time.process_time
        start = now()
        work()
        return now() - start


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and the range they lie in."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one number."""
        return cls(statistics.median(values), min(values), max(values))


def interleaved(works: Mapping[str, Work], clock: Clock, runs: int, budget: float) -> dict[str, list[float]]:
    """Name -> seconds of each round; every round does each work once.

    No further round is begun that would end after ``budget`` seconds of wall time. The first is always made.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    begun = time.monotonic()
    for done in range(runs):
        spent = time.monotonic() - begun
        if done and spent + spent / done > budget:
            break
        for name, work in works.items():
            seconds[name].append(clock.seconds(work))
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Paired: each round's own ratio."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


class PeakMemory:
    """``megabytes``: the most memory resident inside the block, beyond what was before it; None where unknown."""

    def __init__(self, every: float = 0.005) -> None:
        self.megabytes: float | None = None
        self._every = every
        self._done = threading.Event()
        self._before = self._peak = 0.0

    def __enter__(self) -> Self:
        gc.collect()  # what earlier work left, or freed, would hide what this one takes
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        self._before = self._peak = resident()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        if self._before:
            self.megabytes = max(self._peak, resident()) - self._before

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self._peak = max(self._peak, resident())


def resident() -> float:
    """Resident memory of this process in MB; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)
