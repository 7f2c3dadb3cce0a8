"""Pixel flipping and region perturbation. Bach et al. 2015, PLOS ONE 10(7); Samek et al. 2017, arXiv:1509.06321."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from xai_framework.core import Ask, Case, Shape, param
from xai_plugins.metrics._heat import where
from xai_plugins.metrics._removal import Removal, asks, counts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PixelFlipping(Removal):
    """How far the score falls, on average, while the picture is removed region by region in the order of the map.

    Equation (Samek et al., 12): AOPC = 1/(L+1) sum_{k=0..L} (S(x) - S(x_k)), x_k the picture after step k. ``morf``
    removes the most relevant first; ``lerf`` the least relevant first, where a good map loses little: the value is then
    minus the drop; ``difference`` is the sum of both, the area between the two curves (Schulz et al. 2020, arXiv:
    2001.00396). Higher is better in each. Negative heat comes last, as published; the map is enlarged to the input
    bilinearly, averaged over regions of ``patch`` pixels a side (9 in the paper, 1 in Bach et al.); regions of equal
    heat stand in a random order. The clean score and ``steps`` passes, twice as many for ``difference``. NaN where the
    heat is the same everywhere; with ``normalise`` also where the clean score is not positive.
    """

    higher_is_better: ClassVar[bool] = True

    order: Literal["morf", "lerf", "difference"] = param("morf", doc="most or least relevant first, or what is between")
    patch: int = param(9, ge=1, le=4096, doc="side of a region, in input pixels; their heat is averaged")
    share: float = param(1.0, gt=0, le=1, doc="how much of the picture is gone after the last step")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The clean score, and one pass a step and order."""
        return asks(self.steps * (1 + (self.order == "difference")))

    def measure(self, case: Case) -> Tensor:
        """Both orders are one set of copies."""
        total = self.total(case)
        gone = counts(total, self.steps, self.share)
        most, least = [(0, n) for n in gone], [(total - n, total) for n in gone]
        bounds = {"morf": most, "lerf": least, "difference": most + least}[self.order]
        clean, scores, usable = self.scores(case, bounds)
        drops = clean[:, None] - scores
        first, second = drops[:, : self.steps].sum(1), drops[:, self.steps :].sum(1)
        return where(usable, (-first if self.order == "lerf" else first - second) / (self.steps + 1))
