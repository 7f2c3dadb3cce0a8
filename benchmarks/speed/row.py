"""What is measured of one work on one network, and what it is measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.timing import Clock, Spread


@dataclass(frozen=True)
class Options:
    """How it is measured. ``budget`` bounds the seconds a row's timed rounds take; the first round is always made."""

    runs: int = 3
    budget: float = 90.0
    quick: bool = False
    clock: Clock = field(default_factory=Clock)

    def pick(self, full: int, quick: int) -> int:
        """A size, or a small one that shows no more than that all works."""
        return quick if self.quick else full

    @property
    def size(self) -> int:
        """Of a picture's side."""
        return self.pick(224, 64)

    @property
    def batches(self) -> tuple[int, ...]:
        """How many copies in one pass a peer, or a bare pass, is tried with."""
        return (8,) if self.quick else (1, 8, 16, 32)


@dataclass(frozen=True)
class Row:
    """One work, one precision, one peer. Seconds and passes are those of one picture.

    ``ratio`` is the peer's time over ours, ``ratio_as_built`` that where the peer's network is not converted to another
    memory format, ``over_limit`` our time over that of as many bare passes in their best setting, ``error``
    the relative L2 difference of our map to the one of ``against``, ``spearman`` their rank correlation.
    """

    work: str
    network: str
    precision: str
    peer: str
    setting: str = ""
    goal: float | None = None
    ours_s: float | None = None
    peer_s: float | None = None
    ratio: Spread | None = None
    ratio_as_built: Spread | None = None
    over_limit: Spread | None = None
    forward: float | None = None
    backward: float | None = None
    peer_forward: float | None = None
    peak_mb: float | None = None
    peer_peak_mb: float | None = None
    error: float | None = None
    spearman: float | None = None
    against: str = ""
    runs: int = 0
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Which line of the table it is."""
        return self.work, self.network, self.peer.split(" ")[0], self.precision

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


Goals = Mapping[tuple[str, str], float]
"""(peer, precision) -> the ratio that is wanted."""


def grouped(named: Sequence[tuple[str, str]]) -> str:
    """(part, words) as "part, part: words", parts with the same words together."""
    by_words: dict[str, list[str]] = {}
    for part, words in named:
        if part and words:
            by_words.setdefault(words, []).append(part)
    return "; ".join(f"{', '.join(parts)}: {words}" for words, parts in by_words.items())
