"""Monotonicity. Nguyen & Rodriguez Martinez 2020, arXiv:2007.07584, section 2.3: rank correlation with effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch

from xai_framework.core import Ask, Case, Metric, Shape, Sign, param
from xai_plugins.methods._segments import segment
from xai_plugins.metrics._heat import where
from xai_plugins.metrics._ranks import spearman
from xai_plugins.metrics._removal import Filled, Of, Without, asks, means, rankable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Monotonicity(Metric):
    """Whether the map puts the parts of a picture in the order of how much the score depends on each alone.

    Equation: Spearman's correlation over parts i of |M_i| and E[(S(x) - S(x with part i random))^2]. This is not the
    metric of the same name by Arya et al. 2019, which asks whether the score rises as parts are put in. Higher is
    better; -1 to 1. The map is enlarged to the input bilinearly; M_i is the mean heat of a part, its size as published
    unless ``sign`` says otherwise; equal heat shares its rank. Random parts are uniform noise of the pixels' range, the
    same for all methods. The clean score and cells^2 x ``draws`` passes. NaN where the heat is the same in all parts or
    the score depends on none.
    """

    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    family: ClassVar[Literal["faithfulness"]] = "faithfulness"
    stochastic: ClassVar[bool] = True

    cells: int = param(7, ge=2, le=64, doc="parts a side, rectangles of a grid")
    draws: int = param(4, ge=1, le=1000, doc="random fillings of each part")
    of: Of = param("probability", doc="which score is followed")
    sign: Sign = param("absolute", doc="negative heat: 0 (positive), its size (absolute), or as it is (signed)")

    @classmethod
    def example(cls) -> Self:
        """Few parts."""
        return cls(cells=3, draws=1)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The clean score, and one pass a part and draw."""
        return asks(self.cells**2 * self.draws)

    def measure(self, case: Case) -> Tensor:
        """Each draw fills every part in its own copy."""
        x = case.inputs
        parts, labels = self.cells**2, segment(case.probe, x, "grid", self.cells)
        heat = means(case.heat(self.sign), labels, parts)
        usable = rankable(case, heat)
        probe, stream = case.scored(self.of), case.rng.shared("monotonicity")
        clean = probe.score(x, case.targets).double()[:, None]

        def hidden(rows: Tensor, k: range) -> Tensor:
            return labels[rows][:, None] == torch.arange(k.start, k.stop, device=x.device)[:, None, None]

        effects = torch.zeros_like(heat)
        for draw in range(self.draws):
            noise = Filled(case.probe.baseline("noise", x, stream.at(draw)))
            scores = probe.scores(x, case.targets, Without(hidden, parts, noise)).double()
            effects += (clean - scores).square() / self.draws
        moved = effects.amax(1) > effects.amin(1)
        for i in (~moved).nonzero()[:, 0].tolist():
            case.undefined(i, "the score depends on all parts alike")
        return where(usable & moved, spearman(heat, effects))
