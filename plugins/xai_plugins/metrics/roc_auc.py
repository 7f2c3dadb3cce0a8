"""Area under the ROC curve of pixels. Fawcett 2006, doi:10.1016/j.patrec.2005.10.010."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Case, Sign, param
from xai_plugins.metrics._heat import RANK_SIGN_DOC
from xai_plugins.metrics._ranks import average_ranks
from xai_plugins.metrics._regions import Localisation

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RocAuc(Localisation):
    """Probability that a pixel of the explained class's regions is hotter than one outside, equal ones counting half.

    Equation: (sum of the ranks inside - n(n+1)/2) / (n m), n pixels inside, m outside, equal heat sharing its mean
    rank; exact, nothing is sampled. Higher is better; 0..1, and 0.5 is a map without an opinion. The map is enlarged to
    the input bilinearly. No pass. NaN without a visible region of the class, without heat, or where the regions cover
    the whole input.
    """

    sign: Sign = param("positive", doc=RANK_SIGN_DOC)

    def measure(self, case: Case) -> Tensor:
        """One ranking an image."""
        found = self.locate(case, self.sign)
        n, m = found.size, (~found.inside).sum(1, dtype=found.heat.dtype)
        for i in (m == 0).nonzero()[:, 0].tolist():
            case.undefined(i, "the regions cover the whole input")
        ranks = (average_ranks(found.heat) * found.inside).sum(1)
        return found.values((ranks - n * (n + 1) / 2) / (n * m))  # 0/0 where m is 0
