"""Energy-based pointing game. Wang et al. 2020, arXiv:1910.01279; relevance mass accuracy of Arras et al. 2022."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Case, param
from xai_plugins.metrics._heat import SIGN_DOC, EvidenceSign
from xai_plugins.metrics._regions import Localisation

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EnergyInRegion(Localisation):
    """Share of the heat that lies in the regions of the explained class.

    Equation: sum of heat inside / sum of heat. Higher is better; 0..1, and a map without an opinion gets the regions'
    share of the picture. The map is enlarged to the input bilinearly. No pass. NaN without a visible region of the
    class, or without heat.
    """

    sign: EvidenceSign = param("positive", doc=SIGN_DOC)

    def measure(self, case: Case) -> Tensor:
        """Two sums an image."""
        found = self.locate(case, self.sign)
        return found.values((found.heat * found.inside).sum(1) / found.heat.sum(1))
