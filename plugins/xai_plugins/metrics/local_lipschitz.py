"""Local Lipschitz estimate. Alvarez-Melis & Jaakkola 2018, arXiv:1806.08049, equation 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Case, param
from xai_plugins.metrics._neighbours import Neighbours, norm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LocalLipschitz(Neighbours):
    """How much faster than the picture the map changes, at most, near the picture.

    Equation: max over x' near x of |M(x) - M(x')| / |x - x'|, Euclidean norms of raw maps on their own grid, channels
    and signs included. In units of the map, so methods of different units only compare with ``relative``, which is no
    part of the paper: it divides by |M(x)|. x' is uniform in the cube of side 2 x ``radius`` around x, the same
    neighbours as max_sensitivity's; the largest ratio of ``draws`` of them is a lower bound (the paper searches by
    Bayesian optimisation). Lower is better, from 0. The class explained stays the picture's own; a method's own noise
    stays the same. ``draws`` times what the method needs, no score. NaN where a neighbour's map is not finite.
    """

    relative: bool = param(False, doc="divide by the norm of the picture's own map")

    def measure(self, case: Case) -> Tensor:
        """One batch of neighbours a draw."""
        size = norm(case.maps) if self.relative else 1.0
        return self.largest(case, (moved / away / size for away, moved in self.distances(case)))
