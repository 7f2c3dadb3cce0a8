"""Top-k intersection. Theiner, Müller-Budack & Ewerth 2022, arXiv:2104.14995."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import Case, Sign, param, ranked
from xai_plugins.metrics._heat import RANK_SIGN_DOC
from xai_plugins.metrics._regions import Localisation, hits

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TopKIntersection(Localisation):
    """Share of the k hottest pixels that lie in the regions of the explained class.

    Equation: |top k of the heat, and inside| / k. Equal heat is ranked in a drawn order. Higher is better; 0..1, and a
    region of fewer than k pixels cannot reach 1. The map is enlarged to the input bilinearly. No pass. NaN without a
    visible region of the class, without heat, or for inputs of fewer than k pixels.
    """

    stochastic: ClassVar[bool] = True

    k: int = param(1000, ge=1, doc="pixels of the input")
    sign: Sign = param("positive", doc=RANK_SIGN_DOC)

    def measure(self, case: Case) -> Tensor:
        """One ranking an image."""
        found = self.locate(case, self.sign)
        pixels = found.heat.shape[1]
        inside = hits(ranked(found.heat, case.rng), found.inside)
        if self.k > pixels:
            for i in range(len(inside)):
                case.undefined(i, f"k is {self.k}, the input has {pixels} pixels")
            return found.values(inside[:, 0] * float("nan"))
        return found.values(inside[:, self.k - 1] / self.k)
