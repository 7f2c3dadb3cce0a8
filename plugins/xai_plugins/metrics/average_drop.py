"""Average drop. Chattopadhay, Sarkar, Howlader & Balasubramanian 2018 (Grad-CAM++), arXiv:1710.11063, section 4.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import Case
from xai_plugins.metrics._heat import where
from xai_plugins.metrics._shown import Shown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AverageDrop(Shown):
    """Which share of the score is lost when only what the map shows is left of the picture.

    Equation: max(0, Y - O) / Y an image, Y the score of the picture and O that of the picture times the map; the mean
    over images is the paper's, a share here and no percentage. Lower is better; 0 to 1 (with logits, which may be
    negative, more). The map is enlarged to the input bilinearly and scaled from its lowest to its highest value to
    [0,1]; negative heat is 0 first, as in the paper's maps. What is hidden is black: pixels are multiplied, as
    published. The clean score and one pass. NaN where the heat is the same everywhere or the clean score not positive.
    """

    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def measure(self, case: Case) -> Tensor:
        """One copy an image."""
        clean, left, usable = self.compared(case)
        return where(usable, (clean - left).clamp(min=0) / clean)
