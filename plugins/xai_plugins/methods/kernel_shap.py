"""Kernel SHAP. Lundberg & Lee 2017, arXiv:1705.07874, theorem 2."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param
from xai_plugins.methods._coalitions import Game, play
from xai_plugins.methods._segments import Fill, How

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
        """One forward pass a coalition, and those of picture and fill."""
        return (Ask("scores", passes=self.samples + 2),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Coalitions, then one constrained linear system an image."""
        return play(self, probe, inputs, targets, rng)

    def values(self, game: Game) -> Tensor:
        """(b,M): the Shapley values."""
        ends = torch.stack([torch.zeros(game.parts), torch.ones(game.parts)]).expand(len(game), -1, -1)
        if game.parts == 1:
            return game.scores(ends).diff(dim=1)
        shown, weights = self._coalitions(game)
        scores = game.scores(torch.cat([ends.to(shown), shown], 1))
        nothing, gain = scores[:, :1], scores[:, 1] - scores[:, 0]
        return constrained(shown.to(scores), scores[:, 2:] - nothing, gain, weights.to(scores))

    def _coalitions(self, game: Game) -> tuple[Tensor, Tensor]:
        """(b,n,M) of 0 and 1, and their weights (b,n)."""
        parts = game.parts
        sizes = torch.arange(1, parts, dtype=torch.float64)
        kernel = (parts - 1) / (sizes * (parts - sizes))  # of all coalitions of a size together
        if parts <= _MOST_ENUMERATED and 2**parts - 2 <= self.samples:
            numbers = torch.arange(1, 2**parts - 1)
            every = (numbers[:, None] >> torch.arange(parts)) & 1
            count = torch.tensor([float(comb(parts, s)) for s in range(1, parts)], dtype=torch.float64)
            weights = (kernel / count)[every.sum(1) - 1]
            return every.double().expand(len(game), -1, -1), weights.expand(len(game), -1)
        pairs = max(1, self.samples // 2)
        # a uniform number falls into one of the sizes' shares of [0,1); rounding may leave it above the last
        shares = (kernel / kernel.sum()).cumsum(0)
        chosen = torch.searchsorted(shares, game.uniform("size", pairs).double(), right=True).clamp(max=parts - 2)
        order = game.uniform("order", pairs, parts).argsort(2).argsort(2)
        first = (order <= chosen[..., None]).double()
        shown = torch.stack([first, 1 - first], 2).flatten(1, 2)
        return shown, torch.ones(len(game), 2 * pairs, dtype=torch.float64)


def constrained(z: Tensor, y: Tensor, total: Tensor, weights: Tensor) -> Tensor:
    """(B,n,M), (B,n), (B,), (B,n) -> (B,M): weighted least squares of y on z whose coefficients sum to ``total``."""
    last = z[..., -1:]
    reduced, target = z[..., :-1] - last, y - last[..., 0] * total[:, None]
    weighted = reduced * weights[..., None]
    found = (torch.linalg.pinv(weighted.mT @ reduced, hermitian=True) @ (weighted.mT @ target[..., None]))[..., 0]
    return torch.cat([found, (total - found.sum(1))[:, None]], 1)
