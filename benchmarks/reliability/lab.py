"""What rows of the table are made of: cases that are counted, and facts that are noted on the way."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.reliability.study import BrokenPromiseError

Size = Literal["quick", "full"]


@dataclass
class Result:
    """A finished row."""

    number: str
    injected: str
    promised: str
    cases: int = 0
    passed: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Lab:
    """Where one row runs: folders, counts, chance, and the cases so far."""

    def __init__(self, root: Path, result: Result, size: Size) -> None:
        self.root, self.result, self.size = root, result, size
        self.random = random.Random(f"row {result.number}")
        self._folders = 0
        self._most: dict[str, float] = {}

    @property
    def full(self) -> bool:
        """Whether to run the full counts."""
        return self.size == "full"

    def count(self, full: int, quick: int) -> int:
        """How many cases."""
        return full if self.full else quick

    def new(self) -> Path:
        """The path of a folder that does not exist yet."""
        self._folders += 1
        return self.root / f"f{self._folders}"

    def empty(self) -> Path:
        """A new empty folder."""
        path = self.new()
        path.mkdir(parents=True)
        return path

    @contextlib.contextmanager
    def case(self, label: str, keep: bool = False) -> Iterator[Path]:
        """One case in a folder of its own, which is deleted afterwards; whatever is raised makes it a failure."""
        folder = self.empty()
        self.result.cases += 1
        try:
            yield folder
            self.result.passed += 1
        except BrokenPromiseError as wrong:
            self.result.failures.append(f"{label}: {wrong}")
        except Exception:
            self.result.failures.append(f"{label}: {traceback.format_exc()}")
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)

    def most(self, what: str, value: float) -> float:
        """Note the largest value of something; the largest so far."""
        self._most[what] = max(self._most.get(what, value), value)
        return self._most[what]

    def add(self, what: str, value: float = 1) -> None:
        """Note a sum."""
        self._most[what] = self._most.get(what, 0) + value

    def of(self, what: str) -> float:
        """What was noted, 0 where nothing was."""
        return self._most.get(what, 0)

    def notes(self) -> list[str]:
        """Names of all that was noted."""
        return sorted(self._most)

    def note(self, text: str) -> None:
        """A remark for the table."""
        self.result.notes.append(text)


@dataclass(frozen=True)
class Row:
    """One kind of fault. ``act`` runs its cases."""

    number: str
    injected: str
    promised: str
    act: Callable[[Lab], None]

    def run(self, root: Path, size: Size) -> Result:
        """All cases of this row."""
        result = Result(self.number, self.injected, self.promised)
        started = time.monotonic()
        try:
            self.act(Lab(root, result, size))
        except Exception:  # outside of any case: the row itself is at fault
            result.cases += 1
            result.failures.append(traceback.format_exc())
        result.seconds = time.monotonic() - started
        return result
