"""Groups of methods that cannot be told apart by their mean ranks."""

from __future__ import annotations

from collections.abc import Sequence


def cliques(ranks: Sequence[float], critical_difference: float) -> list[tuple[int, int]]:
    """(first, last) positions in rising ``ranks`` of each largest group whose ranks differ by less (Demšar 2006).

    Groups of one are left out, and so is a group inside another.
    """
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(k for k in range(first, len(ranks)) if k == first or ranks[k] - ranks[first] < critical_difference)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
