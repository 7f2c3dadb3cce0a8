"""Which copies share a pass: those that change rectangles of like sizes, since a pass computes the largest for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai_framework.fast.spans import Ints

DENSE = 0.8
"""From this share of a grid on the whole of it is computed: cutting out would cost more than it saves."""

_CALL = 1e7
_WEIGHT = 30.0
"""What a pass costs whatever its size, in multiplications: for each layer to be called, for each weight to be read."""


@dataclass(frozen=True, eq=False)
class Share:
    """What a layer computes of n copies: ``extents`` (n,2) of ``size``, ``each`` place by so many multiplications."""

    extents: Ints
    size: tuple[int, int]
    each: int


def groups(shares: Sequence[Share], copies: int, most: int, weights: int = 0) -> list[Ints]:
    """The numbers of the copies of each pass, at most ``most``, of a network of so many ``weights``.

    All copies are split where that saves most multiplications, as long as it saves more than a further pass costs.
    The same sizes give the same groups on every machine.
    """
    if not shares:
        return np.array_split(np.arange(copies), -(-copies // most))
    extents = np.stack([s.extents for s in shares], axis=1)
    cells, cell, count = np.unique(extents.reshape(copies, -1), axis=0, return_inverse=True, return_counts=True)
    cost = _Cost(shares, most, weights)
    tree = [np.arange(len(cells))]
    found: list[Ints] = []
    extents = cells.reshape(len(cells), -1, 2)
    while tree:
        node = tree.pop()
        parts = cost.split(extents[node], count[node])
        if parts is None:
            members = np.flatnonzero(np.isin(cell.reshape(-1), node))
            found += np.array_split(members, -(-len(members) // most))
        else:
            tree += [node[parts[1]], node[parts[0]]]
    return found


class _Cost:
    """Multiplications of passes over some copies."""

    def __init__(self, shares: Sequence[Share], most: int, weights: int) -> None:
        self._most = most
        self._places = np.array([s.size[0] * s.size[1] for s in shares], np.float64)
        self._each = np.array([s.each for s in shares], np.float64)
        self._size = np.array([s.size for s in shares], np.float64).reshape(-1, 2)
        self._pass = _CALL * len(shares) + _WEIGHT * weights

    def split(self, extents: Ints, count: Ints) -> tuple[Ints, Ints] | None:
        """Where (m,L,2) rectangles, each so many times, are best taken apart; None where it does not pay."""
        best, found = self._of(extents.max(0, initial=0)[None], count.sum()[None])[0], None
        for axis in (0, 1):
            order = np.argsort((extents[..., axis] / self._size[:, axis]).sum(1), kind="stable")
            ahead, behind = extents[order], extents[order[::-1]]
            first = self._of(np.maximum.accumulate(ahead), np.cumsum(count[order]))[:-1]
            second = self._of(np.maximum.accumulate(behind), np.cumsum(count[order[::-1]]))[-2::-1]
            if len(first) and (first + second).min() < best:
                at = int((first + second).argmin())
                best, found = (first + second)[at], (order[: at + 1], order[at + 1 :])
        return found

    def _of(self, extents: Ints, count: Ints) -> NDArray[np.float64]:
        """(m,): of ``count`` copies that are all as large as (m,L,2)."""
        places = extents.prod(2).astype(np.float64)
        places = np.where(places >= DENSE * self._places, self._places, places)
        cost: NDArray[np.float64] = (places @ self._each) * count + self._pass * -(-count // self._most)
        return cost
