"""Best intersection over union. Thresholds as in Choe et al. 2020, arXiv:2001.07437, chosen for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from xai_framework.core import Case, param
from xai_plugins.metrics._heat import SIGN_DOC, EvidenceSign
from xai_plugins.metrics._regions import Localisation, hits

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RegionIou(Localisation):
    """Intersection over union of the regions of the explained class and the map cut at its best threshold.

    Equation: max over t > 0 of |{heat >= t} and inside| / |{heat >= t} or inside|, t over all values of the heat.
    Higher is better; 0..1. The threshold is chosen with the truth in hand, image by image: how well the map's shape
    could fit, not how well one threshold would do. Regions given as boxes are met as boxes, which few maps fill. The
    map is enlarged to the input bilinearly. No pass. NaN without a visible region of the class, or without heat.
    """

    sign: EvidenceSign = param("positive", doc=SIGN_DOC)

    def measure(self, case: Case) -> Tensor:
        """All thresholds of an image at once, by one sorting."""
        found = self.locate(case, self.sign)
        heat, order = found.heat.sort(dim=1, descending=True)
        both = hits(order, found.inside)
        shown = torch.arange(1, heat.shape[1] + 1, device=heat.device)
        # between two pixels of the same heat no threshold can stand
        cut = (heat > 0) & torch.cat([heat[:, :-1] != heat[:, 1:], torch.ones_like(found.usable)[:, None]], 1)
        iou = both / (shown + found.size[:, None] - both).clamp(min=1)
        return found.values((iou * cut).amax(1))
