"""What happens during a run, line by line, for people and programs that watch it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FOLDER = "events"
"""Below a run's folder: one file of JSON lines a process, so that writers on several machines never meet."""

Event = dict[str, Any]
"""``event`` names what happened, ``time`` is seconds since 1970 by the writer's clock, ``worker`` who says so."""


Tell = Callable[[Event], None]
"""Is told of events as they happen."""


class EventLog:
    """Writes events of this process. Losing the log loses no result, so a disk that refuses is complained of once."""

    def __init__(self, run_folder: Path, worker: str = "driver") -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node())[:100]
        self.path = run_folder / FOLDER / f"{stamp}-{host}-{os.getpid()}.jsonl"
        self.worker = worker
        self._handle: int | None = None
        self._works = True

    def __call__(self, event: Event) -> None:
        """Write one event; ``time`` and ``worker`` are added where they are missing."""
        if not self._works:
            return
        line = json.dumps({"time": round(time.time(), 3), "worker": self.worker, **event}, ensure_ascii=False)
        try:
            if self._handle is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.write(self._handle, line.encode() + b"\n")
        except OSError as error:
            self._works = False
            print(f"warning: the event log {self.path} cannot be written: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        """No more events."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.close(self._handle)
            self._handle = None


class Follower:
    """Reads events of a run while it goes on: each call of :meth:`new` gives those since the last."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / FOLDER
        self._read: dict[Path, int] = {}

    def new(self) -> list[Event]:
        """In the order of their times. Lines that are not whole yet are left for the next call."""
        found: list[Event] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            found += self._of(path)
        return sorted(found, key=lambda e: float(e.get("time", 0)))

    def _of(self, path: Path) -> Iterator[Event]:
        try:
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                data = file.read()
        except OSError:
            return
        whole, _, _ = data.rpartition(b"\n")
        self._read[path] = self._read.get(path, 0) + len(whole) + bool(whole)
        for line in whole.split(b"\n"):
            try:
                event = json.loads(line)
            except ValueError:
                continue  # torn by a crash
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event
