"""Feature ablation: occlusion of whole parts. Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param
from xai_plugins.methods._coalitions import Game, play
from xai_plugins.methods._segments import Fill, How

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FeatureAblation(Explainer):
    """S(x) - S(x without one part), signed, in units of the score: (B,1,cells,cells), or (B,1,H,W) for superpixels.

    Equation: the drop of each part alone. Parts are a grid's cells, or superpixels.
    """

    segments: How = param("grid", doc="rectangles, or superpixels (needs scikit-image)")
    cells: int = param(8, ge=1, le=64, doc="parts a side; about cells x cells superpixels")
    fill: Fill = param("mean", doc="what is put in place of a part")

    @classmethod
    def example(cls) -> Self:
        """Few parts."""
        return cls(cells=3)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward pass a part, and one of the picture as it is."""
        return (Ask("scores", passes=self.cells**2 + 1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One edited copy a part."""
        return play(self, probe, inputs, targets, rng)

    def values(self, game: Game) -> Tensor:
        """(b,M): what hiding each part costs."""
        # the last copy hides nothing: its score then comes from the same passes as those it is compared with
        shown = (1 - torch.eye(game.parts + 1))[:, : game.parts].expand(len(game), -1, -1)
        scores = game.scores(shown)
        return scores[:, -1:] - scores[:, :-1]
