"""Relevance rank accuracy. Arras, Osman & Samek 2022, arXiv:2003.07258."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import Case, Sign, param, ranked
from xai_plugins.metrics._heat import RANK_SIGN_DOC
from xai_plugins.metrics._regions import Localisation, hits

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RelevanceRank(Localisation):
    """Share of the n hottest pixels that lie in the regions of the explained class, n being the regions' pixels.

    Equation: |top n of the heat, and inside| / n, n = |inside|. Equal heat is ranked in a drawn order. Higher is
    better; 0..1, and a map without an opinion gets the regions' share of the picture. The map is enlarged to the input
    bilinearly. No pass. NaN without a visible region of the class, or without heat.
    """

    stochastic: ClassVar[bool] = True

    sign: Sign = param("positive", doc=RANK_SIGN_DOC)

    def measure(self, case: Case) -> Tensor:
        """One ranking an image."""
        found = self.locate(case, self.sign)
        inside = hits(ranked(found.heat, case.rng), found.inside)
        last = (found.size.long() - 1).clamp(min=0)
        return found.values(inside.gather(1, last[:, None])[:, 0] / found.size)
