"""Pointing game. Zhang, Lin, Brandt, Shen & Sclaroff 2016, arXiv:1608.00507."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from xai_framework.core import Case, param
from xai_plugins.metrics._heat import SIGN_DOC, EvidenceSign
from xai_plugins.metrics._regions import Localisation

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PointingGame(Localisation):
    """1 where the hottest pixel lies in a region of the explained class, else 0; its mean over images is the accuracy.

    Equation: hit = [min over region pixels r of |p - r| <= tolerance], p = argmax of the heat, pixel centres. Several
    hottest pixels: one of them is drawn. Higher is better; 0 or 1. The map is enlarged to the input bilinearly. No
    pass. NaN without a visible region of the class, or without heat.
    """

    stochastic: ClassVar[bool] = True

    sign: EvidenceSign = param("positive", doc=SIGN_DOC)
    tolerance: float = param(0.0, ge=0, doc="a peak this near a region hits it, in input pixels; 15 in the paper")

    def measure(self, case: Case) -> Tensor:
        """One peak an image."""
        found = self.locate(case, self.sign)
        width = case.inputs.shape[-1]
        pixels = torch.arange(found.heat.shape[1], device=found.heat.device)
        rows, columns = pixels // width, pixels % width
        drawn = case.rng.at("ties").uniform(found.heat.shape).to(found.heat)
        hottest = found.heat == found.heat.amax(1, keepdim=True)
        peak = drawn.masked_fill(~hottest, torch.inf).argmin(1, keepdim=True)
        distance = (rows - peak // width).square() + (columns - peak % width).square()
        return found.values(((distance <= self.tolerance**2) & found.inside).any(1))
