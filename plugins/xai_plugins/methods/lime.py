"""LIME. Ribeiro, Singh & Guestrin 2016, arXiv:1602.04938, equation 2 and section 3.4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param
from xai_plugins.methods._coalitions import Game, play
from xai_plugins.methods._segments import Fill, How

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Lime(Explainer):
    """Coefficients of a linear model of the score around the picture, signed: (B,1,cells,cells), or (B,1,H,W).

    Equation 2 with a ridge: min_b sum_i p_i (S(z_i) - b_0 - z_i b)^2 + ridge |b|^2 over random pictures z_i that
    show half of the parts, p = exp(-d^2 / width^2), d the cosine distance of z from the whole picture.
    """

    stochastic: ClassVar[bool] = True

    samples: int = param(500, ge=2, le=1_000_000, doc="random pictures")
    segments: How = param("grid", doc="rectangles, or superpixels (needs scikit-image)")
    cells: int = param(7, ge=1, le=64, doc="parts a side; about cells x cells superpixels")
    fill: Fill = param("mean", doc="what is put in place of a part")
    width: float = param(0.25, gt=0, doc="width of the kernel")
    ridge: float = param(1.0, ge=0, doc="penalty of the coefficients")

    @classmethod
    def example(cls) -> Self:
        """Few pictures."""
        return cls(samples=12, cells=2)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward pass a picture."""
        return (Ask("scores", passes=self.samples),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Random pictures, then one linear system an image."""
        return play(self, probe, inputs, targets, rng)

    def values(self, game: Game) -> Tensor:
        """(b,M): the coefficients."""
        shown = (game.uniform("shown", self.samples, game.parts) < 0.5).double()
        scores = game.scores(shown)
        shown = shown.to(scores)
        return ridge_regression(shown, scores, self._weights(shown), self.ridge)

    def _weights(self, shown: Tensor) -> Tensor:
        """(B,n): exp(-d^2 / width^2)."""
        distance = 1 - shown.mean(2).sqrt()
        return torch.exp(-(distance**2) / self.width**2)


def ridge_regression(z: Tensor, y: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """(B,n,M), (B,n), (B,n) -> (B,M): weighted least squares with an intercept, which is not penalised."""
    share = weights / weights.sum(1, keepdim=True)
    z = z - (share[..., None] * z).sum(1, keepdim=True)
    y = y - y[:, :1]  # equal scores then leave no rounding behind
    y = y - (share * y).sum(1, keepdim=True)
    weighted = z * weights[..., None]
    system = weighted.mT @ z + ridge * torch.eye(z.shape[2]).to(z)
    # parts that are always shown together leave the system without a unique solution: the smallest is taken
    solution: Tensor = torch.linalg.pinv(system, hermitian=True) @ (weighted.mT @ y[..., None])
    return solution[..., 0]
