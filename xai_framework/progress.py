"""Shows a run to whoever waits for it: a live view on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from xai_framework.events import Event

if TYPE_CHECKING:
    from rich.table import Table

_LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal; a log of a night then has some thousand lines at most."""


@dataclass
class WorkerState:
    """What one worker is at."""

    backbone: str = ""
    images: int = 0
    maps: int = 0
    passes: int = 0
    of: int = 0
    stored: int = 0


@dataclass
class State:
    """A run as its events tell it. Fed by the run itself, or by its event log from another terminal.

    ``units`` and ``maps`` are (done, in all); ``image_count`` is that of all units, so a picture counts once for each
    backbone.
    """

    study: str = ""
    executor: str = ""
    units: tuple[int, int] = (0, 0)
    maps: tuple[int, int] = (0, 0)
    image_count: int = 0
    failed: int = 0
    begun: float | None = None
    latest: float = 0.0
    ended: str = ""
    waiting: bool = False
    workers: dict[str, WorkerState] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Take in one event; unknown ones change nothing."""
        self.latest = max(self.latest, float(event.get("time", self.latest)))
        handler: Callable[[Event], None] | None = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return max(1e-9, self.latest - self.begun) if self.begun is not None else 1e-9

    @property
    def remaining(self) -> float | None:
        """About how many seconds are left, at the speed so far; None before anything is done."""
        done, total = self.maps
        begun = sum(w.maps * w.passes / w.of for w in self.workers.values() if w.of)
        done_so_far = min(float(total), done + begun)
        return (total - done_so_far) * self.seconds / done_so_far if done_so_far else None

    @property
    def images(self) -> float:
        """Images done: units may be stored method by method, so maps are what is counted."""
        return self.image_count * self.maps[0] / max(1, self.maps[1])

    def worker(self, event: Event) -> WorkerState:
        """The state of the worker that says it."""
        return self.workers.setdefault(str(event.get("worker", "")), WorkerState())

    def _on_run(self, event: Event) -> None:
        self.__init__()  # type: ignore[misc] # a log holds every run of the study; the latest counts
        self.study, self.executor = str(event.get("study", "")), str(event.get("executor", ""))
        self.begun = self.latest = float(event["time"])
        self.units, self.maps = (0, int(event["units"])), (0, int(event["maps"]))
        self.image_count = int(event["images"])

    def _on_started(self, event: Event) -> None:
        at = self.worker(event)
        at.backbone, at.images, at.passes, at.of = str(event["backbone"]), int(event["images"]), 0, 0
        at.maps = at.images * len(event["methods"])
        self.waiting = False

    def _on_progress(self, event: Event) -> None:
        at = self.worker(event)
        at.passes, at.of = int(event["passes"]), max(int(event["of"]), int(event["passes"]), 1)

    def _on_stored(self, event: Event) -> None:
        self._on_stopped(event)
        self.units = (min(self.units[0] + 1, self.units[1]), self.units[1])

    def _on_stopped(self, event: Event) -> None:
        at = self.worker(event)
        at.stored += int(event["maps"])
        at.images = at.maps = at.passes = at.of = 0
        self._count(int(event["maps"]), int(event["failed"]))

    def _count(self, maps: int, failed: int) -> None:
        self.maps = (self.maps[0] + maps, self.maps[1])
        self.failed += failed

    def _on_waiting(self, _event: Event) -> None:
        self.waiting = True

    def _on_worker_died(self, event: Event) -> None:
        self.workers.pop(str(event.get("worker", "")), None)
        self._note(f"a worker died ({event['how']}); its unit is done again, method by method")

    def _on_given_up(self, event: Event) -> None:
        self._count(int(event["maps"]), int(event["maps"]))
        self._note(f"{event['method']}: stored as failed, {event['why']}")

    def _on_out_of_memory(self, event: Event) -> None:
        whose = f"{event['method']}: " if "method" in event else ""
        self._note(f"{whose}out of memory, from now on {event['rows_in_a_pass']} images in a pass")

    def _on_disk(self, event: Event) -> None:
        needed, free = (int(event[k]) / 1e9 for k in ("needed", "free"))
        self._note(f"the disk will be full: {needed:.1f} GB still to come, {free:.1f} GB free")

    def _on_error(self, event: Event) -> None:
        self._note(str(event["what"]))

    def _on_end(self, event: Event) -> None:
        self.ended = str(event.get("how", "finished"))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def summary(state: State) -> str:
    """One line: ``384/1920 maps, 3.2 images/s, 19 maps/s, 2 failed, 1 min 20 s left``."""
    done, total = state.maps
    parts = [f"{done}/{total} maps"]
    parts += [f"{count / state.seconds:.3g} {what}/s" for count, what in ((state.images, "images"), (done, "maps"))]
    if state.failed:
        parts.append(f"{state.failed} failed")
    if state.remaining is not None and done < total:
        parts.append(f"{duration(state.remaining)} left")
    if state.waiting:
        parts.append("waiting for another run in this folder")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def table(state: State) -> Table:
    """The live view: one line for the run, one for each worker, notes below."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    shown = Table.grid(padding=(0, 2))
    head = f"{state.study}: {state.units[0]}/{state.units[1]} units, {summary(state)}"
    outer = Table.grid()
    outer.add_row(head)
    for name, worker in state.workers.items():
        # a unit's bar by its passes; what the passes come to is an estimate, so the bar may jump at the end
        bar = ProgressBar(total=max(worker.of, 1), completed=worker.passes, width=30)
        at = f"{worker.images} images at hand" if worker.images else "idle"
        shown.add_row(name, worker.backbone, bar, at, f"{worker.stored} maps stored")
    outer.add_row(shown)
    for note in state.notes[-5:]:
        outer.add_row(f"[yellow]{_escaped(note)}[/]")
    return outer


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


class Display:
    """Shows events as they come; use as a context. ``live`` is decided by the terminal unless given."""

    def __init__(self, live: bool | None = None) -> None:
        self.state = State()
        self._is_live = sys.stdout.isatty() if live is None else live
        self._live: Any = None
        self._printed = 0.0
        self._said = ""
        self._notes = 0

    def __enter__(self) -> Self:
        if self._is_live:
            from rich.live import Live

            self._live = Live(get_renderable=lambda: table(self.state), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
            print(summary(self.state), flush=True)
        elif self.state.units[1]:
            self._line()

    def __call__(self, event: Event) -> None:
        """Take in and show."""
        self.state.take({"time": time.time(), **event})
        if self._is_live:
            return
        for note in self.state.notes[self._notes :]:
            print(note, flush=True)
        self._notes = len(self.state.notes)
        if time.monotonic() - self._printed > _LINE_EVERY and event["event"] in ("stored", "progress", "waiting"):
            self._line()

    def _line(self) -> None:
        self._printed = time.monotonic()
        done = self.state.maps[0]
        if done == self.state.maps[1] and self._said.startswith(f"{done}/"):
            return  # the last word was said
        self._said = summary(self.state)
        print(self._said, flush=True)
