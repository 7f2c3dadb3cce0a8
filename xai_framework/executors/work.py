"""What an executor is given: the missing units of a plan, handed out once each, however many want them."""

from __future__ import annotations

import itertools
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xai_framework.core.errors import XaiError
from xai_framework.events import Tell
from xai_framework.plan import Group, Plan, Unit
from xai_framework.stop import Stop
from xai_framework.store import Claims, Tail, failed_block, rows_digest

MOST_DEATHS = 2
"""Workers that one piece of work may take with it."""

MOST_GIVEN_UP = 3
"""Units that a method may be given up on before the rest of its units is not tried any more in this run."""


@dataclass(frozen=True)
class Piece:
    """Rows and cells of one group, computed together by one worker. ``cells`` are places in the group's cells."""

    number: int
    group: int
    rows: tuple[int, ...]
    cells: tuple[int, ...]
    deaths: int = 0


@dataclass(frozen=True)
class Done:
    """What a worker says of a piece: as :class:`~xai_framework.engine.Ran`, and the seconds it took."""

    rows: int
    maps: int
    failed: int
    complete: bool
    seconds: float
    bytes: int = 0


@dataclass
class Outcome:
    """What a run came to. ``errors`` concern whole groups, by their place in the plan."""

    maps: int = 0
    failed: int = 0
    errors: dict[int, XaiError] = field(default_factory=dict)


@dataclass
class Work:
    """A study's missing work and how to speak of it. Plain data but for ``stop`` and ``tell``.

    ``units`` are those of each group of the plan; ``plugin_files`` must be loaded by whoever builds plugins;
    ``folder`` is the run's own.
    """

    plan: Plan
    units: list[list[Unit]]
    plugin_files: tuple[str, ...]
    folder: Path
    stop: Stop
    tell: Tell
    outcome: Outcome = field(default_factory=Outcome)
    total: int = 0

    def __post_init__(self) -> None:
        """``total`` is the number of maps that ``max_failures`` is a share of."""
        self.total = self.total or sum(len(u.rows) * len(u.cells) for units in self.units for u in units)

    def count(self, maps: int, failed: int) -> None:
        """Add to the outcome; asks to stop where the study's policy says so."""
        self.outcome.maps += maps
        self.outcome.failed += failed
        settings = self.plan.groups[0].job.settings
        if failed and settings.on_error == "stop":
            self.stop.ask("on_error=stop: a map failed")
        most = settings.max_failures
        if most is not None and self.outcome.failed > most * self.total:
            self.stop.ask(f"max_failures={most:g}: {self.outcome.failed} of {self.total} maps failed")

    @property
    def outputs(self) -> Path:
        """The folder of all results."""
        return Path(self.plan.groups[0].job.settings.outputs)

    def pieces(self) -> list[Piece]:
        """All units as pieces, in order."""
        pieces: list[Piece] = []
        for g, (group, units) in enumerate(zip(self.plan.groups, self.units, strict=True)):
            place = {id(cell): c for c, cell in enumerate(group.cells)}
            for unit in units:
                pieces.append(Piece(len(pieces), g, unit.rows, tuple(place[id(c)] for c in unit.cells)))
        return pieces


class Pieces:
    """Hands out pieces, one worker each; what another run in the same folder is at is left to it as long as it lives.

    Not thread-safe: one per process.
    """

    def __init__(
        self, groups: Sequence[Group], pieces: Iterable[Piece], claims: Claims, give_up: Callable[[Piece, str], None]
    ) -> None:
        """``give_up`` is told of every piece, of one cell, that is stored as failed, and why."""
        self._groups, self._claims, self._give_up = groups, claims, give_up
        self._queues: dict[int, deque[Piece]] = {}
        numbers = [0]
        for piece in pieces:
            self._queues.setdefault(piece.group, deque()).append(piece)
            numbers.append(piece.number)
        self._numbers = itertools.count(1 + max(numbers))
        self._elsewhere: list[Piece] = []
        self._out: dict[int, Piece] = {}
        self._tails = {
            (g, c): Tail(cell.store.journal_path, m.read[c] if len(m.read) == len(m.cells) else cell.store.written)
            for g, m in enumerate(groups)
            for c, cell in enumerate(m.cells)
        }
        self._given_up: Counter[tuple[int, int]] = Counter()

    @property
    def left(self) -> bool:
        """Whether anything is still to be taken, now or when others have given it up."""
        return bool(self._elsewhere) or any(self._queues.values())

    def take(self, loaded: int | None, busy: Counter[int]) -> Piece | None:
        """The next piece for a worker that has the backbone of group ``loaded`` in memory; ``busy`` counts the workers
        of each group. None where nothing can be taken now.
        """
        for group in self._order(loaded, busy):
            queue = self._queues[group]
            while queue:
                if piece := self._claimed(queue.popleft()):
                    return piece
        return None

    def retry_elsewhere(self) -> None:
        """Try again for what others were at: they may have ended without finishing it."""
        pieces, self._elsewhere = self._elsewhere, []
        for piece in pieces:
            self._queues.setdefault(piece.group, deque()).append(piece)

    def finish(self, piece: Piece) -> None:
        """A worker has stored it, or has given it up."""
        del self._out[piece.number]
        self._claims.give_back(self._claim(piece))

    def lost(self, piece: Piece, how: str) -> None:
        """A worker died of it: it is done again, each method by itself, and stored as failed where it kills again."""
        self.finish(piece)
        deaths = piece.deaths + 1
        if len(piece.cells) == 1 and deaths >= MOST_DEATHS:
            self._given_up[piece.group, piece.cells[0]] += 1
            self._fail(piece, piece.cells[0], f"its worker died {deaths} times over it ({how})")
            return
        queue = self._queues.setdefault(piece.group, deque())
        for cell_number in piece.cells:
            queue.appendleft(replace(piece, number=next(self._numbers), cells=(cell_number,), deaths=deaths))

    def again(self, piece: Piece) -> None:
        """It is done again as it is."""
        self.finish(piece)
        self._queues.setdefault(piece.group, deque()).appendleft(replace(piece, number=next(self._numbers)))

    def drop(self, group: int) -> None:
        """Nothing of this group can be computed."""
        self._queues.pop(group, None)
        self._elsewhere = [p for p in self._elsewhere if p.group != group]

    def _order(self, loaded: int | None, busy: Counter[int]) -> list[int]:
        """Groups to look at: the one in memory, then those with the fewest workers."""
        waiting = [g for g, queue in self._queues.items() if queue]
        return sorted(waiting, key=lambda g: (g != loaded, busy[g], g))

    def _claimed(self, piece: Piece) -> Piece | None:
        """The piece without what is done or taken by others; None where nothing is left of it."""
        if not self._claims.take(self._claim(piece)):
            self._elsewhere.append(piece)
            return None
        rows = rows_digest(self._groups[piece.group].manifest.keys(piece.rows))
        for cell in piece.cells:
            if self._given_up[piece.group, cell] >= MOST_GIVEN_UP:  # each try would cost two more workers
                self._fail(piece, cell, f"not tried: it killed its workers on {MOST_GIVEN_UP} units before")
        missing = tuple(cell for cell in piece.cells if not self._tails[piece.group, cell].has(rows))
        if not missing:
            self._claims.give_back(self._claim(piece))
            return None
        self._out[piece.number] = piece = replace(piece, cells=missing)
        return piece

    def _fail(self, piece: Piece, cell: int, reason: str) -> None:
        group = self._groups[piece.group]
        block = failed_block(group.manifest.keys(piece.rows), reason)
        group.cells[cell].store.write(block, {}, {"reason": reason})
        self._give_up(replace(piece, cells=(cell,)), reason)

    def _claim(self, piece: Piece) -> str:
        """By its first row: one lock a piece, since every lock held makes the next dearer. Two studies that compute
        other methods of the same backbone and images take turns at a piece.
        """
        group = self._groups[piece.group]
        first = group.manifest.rows[piece.rows[0]]
        return f"{group.id} {first.id} {first.content}"


def how_it_ended(code: int | None) -> str:
    """An exit code in words: ``signal SIGSEGV``, ``exit code 1``."""
    if code is not None and code < 0:
        import signal

        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def worker_name() -> str:
    """How a worker is called in events."""
    return f"{os.uname().nodename if hasattr(os, 'uname') else 'here'}-{os.getpid()}"
