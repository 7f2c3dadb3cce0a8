"""Gives pieces of work to the workers of a pool, as each becomes free, until nothing is left."""

from __future__ import annotations

import shutil
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xai_framework.core.errors import StoreError, XaiError
from xai_framework.events import Event
from xai_framework.executors.work import Done, Piece, Pieces, Work, worker_name
from xai_framework.store import Claims

_WAIT = 0.5
"""Seconds between two looks at what other runs in the same folder are at."""


@dataclass(frozen=True)
class Said:
    """What became of a piece: ``done``; or an ``error`` that concerns its whole group; or the worker ``died`` of it.

    ``blameless``: it died, but of something else, as the loss of its machine. An ``event`` is news in between, and ends
    nothing.
    """

    worker: str
    done: Done | None = None
    error: XaiError | None = None
    died: str = ""
    blameless: bool = False
    event: Event | None = None


class Pool(Protocol):
    """Workers that compute one piece at a time."""

    def idle(self) -> Sequence[str]:
        """Names of the workers that have nothing to do; a pool that lost a worker has a new one here."""
        ...

    def start(self, worker: str, piece: Piece) -> None:
        """Give an idle worker a piece."""
        ...

    def wait(self, seconds: float) -> Sequence[Said]:
        """What was said until now, waiting at most so long for something to be."""
        ...

    def ask_to_stop(self) -> None:
        """Workers store what is finished and end their pieces."""
        ...


def drive(work: Work, pool: Pool) -> None:
    """Run all pieces on the pool. Raises the first error that concerns a whole group once all others are done."""
    pieces = work.pieces()
    claims = Claims(work.outputs / "store")
    try:
        _Driver(work, pool, pieces, claims).run()
    finally:
        claims.close()
    if work.outcome.errors:
        raise next(iter(work.outcome.errors.values()))


class _Driver:
    def __init__(self, work: Work, pool: Pool, pieces: Sequence[Piece], claims: Claims) -> None:
        self._work, self._pool = work, pool
        self._pieces = Pieces(work.plan.groups, pieces, claims, self._give_up)
        self._at: dict[str, Piece] = {}
        self._busy: Counter[int] = Counter()
        self._loaded: dict[str, int] = {}
        self._told_to_stop = False
        self._bytes = 0
        self._total = sum(len(u.rows) * len(u.cells) for units in work.units for u in units)
        self._warned = False

    def run(self) -> None:
        """Until all is done, or all workers have stopped."""
        while True:
            if self._work.stop.asked and not self._told_to_stop:
                self._told_to_stop = True
                self._pool.ask_to_stop()
            if not self._work.stop.asked:
                self._hand_out()
            if not self._at:
                if self._work.stop.asked or not self._pieces.left:
                    return
                self._work.tell({"event": "waiting", "why": "another run is computing what is left"})
                time.sleep(_WAIT)
                self._pieces.retry_elsewhere()
                continue
            for said in self._pool.wait(_WAIT):
                self._hear(said)

    def _hand_out(self) -> None:
        for worker in self._pool.idle():
            if worker in self._at:
                continue
            piece = self._pieces.take(self._loaded.get(worker), self._busy)
            if piece is None:
                return
            self._at[worker] = piece
            self._busy[piece.group] += 1
            self._loaded[worker] = piece.group
            group = self._work.plan.groups[piece.group]
            labels = [group.cells[c].title for c in piece.cells]
            self._tell(worker, "started", piece, backbone=group.backbone, images=len(piece.rows), methods=labels)
            self._pool.start(worker, piece)

    def _hear(self, said: Said) -> None:
        if said.event is not None:
            self._work.tell({"worker": said.worker, **said.event})
            return
        piece = self._at.pop(said.worker)
        self._busy[piece.group] -= 1
        if said.done is not None:
            self._finished(said.worker, piece, said.done)
        elif said.error is not None:
            self._pieces.finish(piece)
            self._pieces.drop(piece.group)
            self._work.outcome.errors.setdefault(piece.group, said.error)
            if isinstance(said.error, StoreError):  # a full disk is full for all
                self._work.stop.ask("results cannot be stored")
            self._tell(said.worker, "error", piece, what=str(said.error))
        else:
            self._loaded.pop(said.worker, None)
            self._tell(said.worker, "worker_died", piece, how=said.died)
            if said.blameless:
                self._pieces.again(piece)
            else:
                self._pieces.lost(piece, said.died)

    def _finished(self, worker: str, piece: Piece, done: Done) -> None:
        self._pieces.finish(piece)
        self._work.count(done.maps, done.failed)
        seconds = round(done.seconds, 3)
        facts = {"images": done.rows, "maps": done.maps, "failed": done.failed, "seconds": seconds}
        self._tell(worker, "stored" if done.complete else "stopped", piece, **facts)
        self._bytes += done.bytes
        self._look_at_the_disk()

    def _look_at_the_disk(self) -> None:
        """Say, once, that what is still to come will not fit: now, rather than in the night."""
        done = self._work.outcome.maps
        if self._warned or not done:
            return
        free = shutil.disk_usage(self._work.outputs).free
        # shards, and the merged files beside them
        needed = self._bytes / done * (2 * self._total - done)
        if needed > free:
            self._warned = True
            self._work.tell({"event": "disk", "needed": int(needed), "free": free})

    def _give_up(self, piece: Piece, why: str) -> None:
        label = self._work.plan.groups[piece.group].cells[piece.cells[0]].title
        self._work.count(len(piece.rows), len(piece.rows))
        self._tell("driver", "given_up", piece, method=label, why=why, maps=len(piece.rows))

    def _tell(self, worker: str, event: str, piece: Piece, **facts: object) -> None:
        self._work.tell({"event": event, "worker": worker, "piece": piece.number, **facts})


class Here:
    """A pool of one worker: this process."""

    def __init__(self, work: Work) -> None:
        from xai_framework.executors.runner import Runner
        from xai_framework.registry import Registry

        self._name = worker_name()
        registry = Registry(work.plugin_files)
        self._runner = Runner(work.plan.groups, registry, work.stop, lambda e: work.tell({"worker": self._name, **e}))
        self._piece: Piece | None = None

    def idle(self) -> Sequence[str]:
        """Always: :meth:`wait` returns when the piece is done."""
        return [] if self._piece else [self._name]

    def start(self, worker: str, piece: Piece) -> None:
        """Computed by :meth:`wait`."""
        self._piece = piece

    def wait(self, seconds: float) -> Sequence[Said]:
        """Compute the piece at hand."""
        piece, self._piece = self._piece, None
        if piece is None:
            return []
        return [said_of(self._name, attempted(self._runner, piece))]

    def ask_to_stop(self) -> None:
        """The stop is shared."""


def attempted(runner: Any, piece: Piece) -> Done | XaiError | str:  # noqa: ANN401 - a Runner, whose module needs torch
    """What came of a piece; a text where something was raised that nobody foresaw, as a method's crash is."""
    try:
        done: Done = runner.compute(piece)
        return done
    except XaiError as error:
        return error
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"


def said_of(worker: str, answer: Done | XaiError | str) -> Said:
    """The same as the driver hears it."""
    if isinstance(answer, str):
        return Said(worker, died=answer)
    return Said(worker, done=answer) if isinstance(answer, Done) else Said(worker, error=answer)
