"""The score of what a map shows of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from xai_framework.core import Ask, Case, Masks, Metric, Shape, Sign, param
from xai_plugins.metrics._heat import RANK_SIGN_DOC
from xai_plugins.metrics._removal import Of, asks, positive, rankable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Shown(Metric):
    """The picture is shown through its map, scaled to [0,1]."""

    family: ClassVar[Literal["faithfulness"]] = "faithfulness"

    fill: Literal["mean", "black", "white", "blur"] = param("black", doc="what stands where the map hides")
    of: Of = param("probability", doc="which score is compared")
    sign: Sign = param("positive", doc=f"{RANK_SIGN_DOC}, lowest is hidden")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The clean score, and the score of one copy."""
        return asks(1)

    def compared(self, case: Case) -> tuple[Tensor, Tensor, Tensor]:
        """(B,) float64 scores of the picture and of what is shown of it; (B,) whether the image has a value."""
        heat = case.heat(self.sign)
        usable = rankable(case, heat.flatten(1))
        low, high = (end[:, None, None] for end in (heat.flatten(1).amin(1), heat.flatten(1).amax(1)))
        masks = (heat - low) / (high - low).masked_fill(high <= low, 1)
        probe = case.scored(self.of)
        clean = probe.score(case.inputs, case.targets).double()
        edits = Masks(masks[:, None, None], probe.baseline(self.fill, case.inputs))
        return clean, probe.scores(case.inputs, case.targets, edits)[:, 0].double(), usable & positive(case, clean)
