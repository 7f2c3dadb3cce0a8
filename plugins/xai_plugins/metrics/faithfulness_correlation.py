"""Faithfulness correlation. Bhatt, Weller & Moura 2020, arXiv:2005.00631, section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch

from xai_framework.core import Ask, Case, File, Metric, Shape, Sign, param
from xai_plugins.metrics._heat import where
from xai_plugins.metrics._removal import (
    Imputation,
    Of,
    Without,
    asks,
    check_imputation,
    imputer,
    many,
    means,
    numbered,
    rankable,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FaithfulnessCorrelation(Metric):
    """Whether the parts that add up to more heat also cost more of the score when they are removed together.

    Equation: Pearson's correlation over random subsets K of equally many patches of sum_{i in K} M_i and S(x) - S(x
    without K). Higher is better; -1 to 1. The map is enlarged to the input bilinearly, signed as published, and M_i is
    the mean heat of patch i (a patch that the edge cuts counts as a whole one). The same subsets for all methods. The
    clean score and ``subsets`` passes. NaN where the heat is the same everywhere or no subset changes the score.
    """

    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    family: ClassVar[Literal["faithfulness"]] = "faithfulness"
    stochastic: ClassVar[bool] = True

    subsets: int = param(100, ge=3, le=100_000, doc="random subsets")
    share: float = param(0.2, gt=0, lt=1, doc="how much of the picture a subset is")
    patch: int = param(8, ge=1, le=4096, doc="side of what is removed as one, in input pixels")
    impute: Imputation = param("mean", doc="what stands where something was removed; road: guessed from around it")
    image: File | None = param(None, doc="the picture of impute=image")
    of: Of = param("probability", doc="which score is followed")
    sign: Sign = param("signed", doc="negative heat: 0 (positive), its size (absolute), or as it is (signed)")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_imputation(self.impute, self.image, type(self).__name__)

    @classmethod
    def example(cls) -> Self:
        """Few subsets."""
        return cls(subsets=4, patch=4)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The clean score, and one pass a subset."""
        return asks(self.subsets)

    def measure(self, case: Case) -> Tensor:
        """Which patches a subset has is held; pictures are made when they are scored."""
        x = case.inputs
        size = (x.shape[-2], x.shape[-1])
        total, labels = many(size, self.patch), numbered(size, self.patch).to(x.device)
        heat = means(case.heat(self.sign), labels.expand(len(x), -1, -1), total)
        usable = rankable(case, heat)
        chosen = self._chosen(case, total)

        def hidden(rows: Tensor, k: range) -> Tensor:
            return chosen[rows, k.start : k.stop][:, :, labels]

        probe = case.scored(self.of)
        edits = Without(hidden, self.subsets, imputer(case, self.impute, self.image))
        drops = probe.score(x, case.targets).double()[:, None] - probe.scores(x, case.targets, edits).double()
        sums = torch.stack([(part * heat).sum(1) for part in chosen.unbind(1)], 1)
        a, b = (v - v.mean(1, keepdim=True) for v in (sums, drops))
        spread = a.square().sum(1) * b.square().sum(1)
        for i in (spread == 0).nonzero()[:, 0].tolist():
            case.undefined(i, "all subsets cost the same, or hold the same heat")
        correlation = (a * b).sum(1) / spread.sqrt()
        return where(usable & (spread > 0), correlation.clamp(-1, 1))

    def _chosen(self, case: Case, total: int) -> Tensor:
        """(B,n,P) bool: the patches of each subset."""
        count = max(1, round(self.share * total))
        stream = case.rng.shared("subsets")
        chosen = torch.zeros(len(case.inputs), self.subsets, total, dtype=torch.bool)
        for k in range(self.subsets):  # one at a time: the numbers of all subsets of single pixels would be large
            chosen[:, k].scatter_(1, stream.at(k).uniform((len(chosen), total)).topk(count, 1).indices, True)
        return chosen.to(case.inputs.device)
