"""Kernel SHAP. Lundberg & Lee 2017, arXiv:1705.07874, theorem 2."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param
from xai_plugins.methods._segments import Coalitions, Fill, How, per_segment, segment

if TYPE_CHECKING:
    from torch import Tensor

_MOST_ENUMERATED = 16


@dataclass(frozen=True)
class KernelShap(Explainer):
    """Shapley values of the parts of the picture, signed, in units of the score: (B,1,cells,cells), or (B,1,H,W).

    Equation: theorem 2, least squares over coalitions weighted by the Shapley kernel, under the exact constraint that
    all values sum to S(x) - S(fill). All coalitions are taken where there are no more than ``samples``, and the values
    are then exact; else pairs of a random coalition and its complement.
    """

    stochastic: ClassVar[bool] = True

    samples: int = param(1000, ge=2, le=1_000_000, doc="coalitions")
    segments: How = param("grid", doc="rectangles, or superpixels (needs scikit-image)")
    cells: int = param(7, ge=1, le=64, doc="parts a side; about cells x cells superpixels")
    fill: Fill = param("mean", doc="what is put in place of a part")

    @classmethod
    def example(cls) -> Self:
        """Few coalitions."""
        return cls(samples=20, cells=2)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The scores of picture and fill, and one forward pass a coalition."""
        return (Ask("score", passes=2), Ask("scores", passes=self.samples))

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Coalitions, then one constrained linear system an image."""
        labels = segment(probe, inputs, self.segments, self.cells)
        parts = int(labels.max()) + 1
        fill = probe.baseline(self.fill, inputs)
        nothing = probe.score(fill, targets).double()
        gain = probe.score(inputs, targets).double() - nothing
        if parts == 1:
            return per_segment(gain[:, None].to(inputs), labels, self.segments, self.cells)
        shown, weights = self._coalitions(len(inputs), parts, rng)
        scores = probe.scores(inputs, targets, Coalitions(shown.to(inputs), labels, fill)).double()
        values = constrained(shown.to(scores), scores - nothing[:, None], gain, weights.to(scores))
        return per_segment(values.to(inputs), labels, self.segments, self.cells)

    def _coalitions(self, batch: int, parts: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """(B,n,M) of 0 and 1, and their weights (B,n)."""
        sizes = torch.arange(1, parts, dtype=torch.float64)
        kernel = (parts - 1) / (sizes * (parts - sizes))  # of all coalitions of a size together
        if parts <= _MOST_ENUMERATED and 2**parts - 2 <= self.samples:
            numbers = torch.arange(1, 2**parts - 1)
            every = (numbers[:, None] >> torch.arange(parts)) & 1
            count = torch.tensor([float(comb(parts, s)) for s in range(1, parts)], dtype=torch.float64)
            weights = (kernel / count)[every.sum(1) - 1]
            return every.double().expand(batch, -1, -1), weights.expand(batch, -1)
        pairs = max(1, self.samples // 2)
        chosen = torch.searchsorted(
            (kernel / kernel.sum()).cumsum(0), rng.at("size").uniform((batch, pairs)).double()
        ).clamp(max=parts - 2)
        order = rng.at("order").uniform((batch, pairs, parts)).argsort(2).argsort(2)
        first = (order <= chosen[..., None]).double()
        shown = torch.stack([first, 1 - first], 2).flatten(1, 2)
        return shown, torch.ones(batch, 2 * pairs, dtype=torch.float64)


def constrained(z: Tensor, y: Tensor, total: Tensor, weights: Tensor) -> Tensor:
    """(B,n,M), (B,n), (B,), (B,n) -> (B,M): weighted least squares of y on z whose coefficients sum to ``total``."""
    last = z[..., -1:]
    reduced, target = z[..., :-1] - last, y - last[..., 0] * total[:, None]
    weighted = reduced * weights[..., None]
    found = (torch.linalg.pinv(weighted.mT @ reduced, hermitian=True) @ (weighted.mT @ target[..., None]))[..., 0]
    return torch.cat([found, (total - found.sum(1))[:, None]], 1)
