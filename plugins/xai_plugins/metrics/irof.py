"""IROF, iterative removal of features. Rieger & Hansen 2020, arXiv:2003.08747, section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch

from xai_framework.core import Ask, Case, Metric, Shape, Sign, param
from xai_plugins.methods._segments import Fill, How, equally_many, segment
from xai_plugins.metrics._heat import RANK_SIGN_DOC, where
from xai_plugins.metrics._removal import Between, Filled, Of, Without, asks, means, places, positive, rankable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Irof(Metric):
    """Which share of the score is lost, on average, while the picture is removed segment by segment, hottest first.

    Equation: 1/L sum_{l=1..L} (1 - S(x_l) / S(x)), x_l without the l segments of the highest mean heat: the area over
    the curve (the paper's sum, divided by the number of segments). Higher is better; at most 1. Segments are
    superpixels as published (segments=slic, needs scikit-image) or the cells of a grid, whose number is always the
    same. The map is enlarged to the input bilinearly; negative heat comes last; equal segments in a random order. What
    is removed is the mean input, the paper's mean colour. The clean score and a pass a segment, about cells^2. NaN
    where the heat is the same in all segments or the clean score is not positive.
    """

    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-float("inf"), 1.0)
    family: ClassVar[Literal["faithfulness"]] = "faithfulness"
    stochastic: ClassVar[bool] = True

    segments: How = param("grid", doc="rectangles, or superpixels (needs scikit-image)")
    cells: int = param(7, ge=2, le=64, doc="parts a side; about cells x cells superpixels")
    fill: Fill = param("mean", doc="what stands where a segment was removed")
    of: Of = param("probability", doc="which score is followed")
    sign: Sign = param("signed", doc=RANK_SIGN_DOC)

    @classmethod
    def example(cls) -> Self:
        """Few segments."""
        return cls(cells=3)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The clean score, and one pass a segment."""
        return asks(self.cells**2)

    def measure(self, case: Case) -> Tensor:
        """Pictures with equally many segments together."""
        x, heat, probe = case.inputs, case.heat(self.sign), case.scored(self.of)
        labels, fill = segment(case.probe, x, self.segments, self.cells), case.probe.baseline(self.fill, x)
        clean = probe.score(x, case.targets).double()
        usable, lost = positive(case, clean), torch.zeros_like(clean)
        for found, parts in equally_many(labels, self.segments, self.cells):
            rows = found.to(x.device)
            # of all pictures, for the order of ties is drawn for a batch; the rows of others mean nothing
            values = means(heat, labels.clamp(max=parts - 1), parts)
            order = places(case, values).gather(1, labels.clamp(max=parts - 1).flatten(1)).view_as(labels)
            hidden = Between(order[rows], [(0, n) for n in range(1, parts + 1)])
            edits = Without(hidden, parts, Filled(fill[rows]))
            scores = probe.scores(x[rows], case.targets[rows], edits).double()
            lost[rows] = 1 - (scores / clean[rows, None]).mean(1)
            usable[rows] &= self._rankable(case, values, rows)
        return where(usable, lost)

    def _rankable(self, case: Case, values: Tensor, rows: Tensor) -> Tensor:
        """Whether the segments of these images differ; nothing is said of others."""
        mine = torch.zeros(len(values), dtype=torch.bool, device=values.device)
        mine[rows] = True
        others = torch.arange(values.shape[1], device=values.device).to(values).expand_as(values)
        return rankable(case, torch.where(mine[:, None], values, others))[rows]
