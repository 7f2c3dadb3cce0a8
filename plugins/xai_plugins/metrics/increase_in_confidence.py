"""Increase in confidence. Chattopadhay et al. 2018 (Grad-CAM++), arXiv:1710.11063, section 4.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import Case
from xai_plugins.metrics._heat import where
from xai_plugins.metrics._shown import Shown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class IncreaseInConfidence(Shown):
    """1 where the score rises when only what the map shows is left of the picture, else 0.

    Equation: [Y < O], Y the score of the picture and O that of the picture times the map; the mean over images is the
    paper's, a share here and no percentage. Higher is better; 0 or 1. The map is enlarged to the input bilinearly and
    scaled from its lowest to its highest value to [0,1]; negative heat is 0 first, as in the paper's maps. What is
    hidden is black: pixels are multiplied, as published. The clean score and one pass, the same as average_drop's. NaN
    where average_drop has none.
    """

    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def measure(self, case: Case) -> Tensor:
        """One copy an image."""
        clean, left, usable = self.compared(case)
        return where(usable, (left > clean).double())
