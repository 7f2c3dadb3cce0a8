"""Max-sensitivity. Yeh, Hsieh, Suggala, Inouye & Ravikumar 2019, arXiv:1901.09392, definition 3.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Case
from xai_plugins.metrics._neighbours import Neighbours, norm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MaxSensitivity(Neighbours):
    """How much the map changes, at most, where the picture hardly does.

    Equation: max over x' near x of |M(x') - M(x)| / |M(x)|, Frobenius norms of raw maps on their own grid, channels and
    signs included; divided by the map's own norm, as in the authors' experiments, so that its unit does not matter. x'
    is uniform in the cube of side 2 x ``radius`` around x, the ball of the maximum norm. Lower is better, from 0.
    The largest of ``draws`` random neighbours is a lower bound of the true maximum. The class explained stays the
    picture's own; a method's own noise stays the same. ``draws`` times what the method needs, no score. NaN where a
    neighbour's map is not finite.
    """

    def measure(self, case: Case) -> Tensor:
        """One batch of neighbours a draw."""
        size = norm(case.maps)
        return self.largest(case, (moved / size for _, moved in self.distances(case)))
