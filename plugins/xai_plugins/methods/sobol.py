"""Sobol total indices. Fel, Cadène, Chalvidal, Cord, Vigouroux & Serre 2021, arXiv:2111.04138, section 3.

The estimator is the one of Jansen 1999, doi:10.1016/S0010-4655(98)00154-4.
"""

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
class Sobol(Explainer):
    """Share of the score's variance that a part has a hand in, >= 0, no unit: (B,1,cells,cells), or (B,1,H,W).

    Equation: ST_i = sum_j (S(A_j) - S(C_ij))^2 / (2 N Var S(A)), where the N rows of A and B fade every part of the
    picture by factors in [0,1] (a Latin hypercube: with few rows nearer to the truth than the paper's sequence, which
    repeats itself in so many dimensions), and C_i is A with part i's factors from B. Without interactions the shares
    sum to 1, else to more. They have no sign; where the score does not vary, they are 0.
    """

    stochastic: ClassVar[bool] = True

    designs: int = param(32, ge=2, le=8192, doc="rows N of each design; N (cells^2 + 1) passes")
    segments: How = param("grid", doc="rectangles, or superpixels (needs scikit-image)")
    cells: int = param(8, ge=1, le=64, doc="parts a side; about cells x cells superpixels")
    fill: Fill = param("mean", doc="what a part fades into")

    @classmethod
    def example(cls) -> Self:
        """Few designs."""
        return cls(designs=4, cells=2)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward pass for each row of A and of every C; B itself is not scored."""
        return (Ask("scores", passes=self.designs * (self.cells**2 + 1)),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Two designs, and what swapping one part between them does."""
        return play(self, probe, inputs, targets, rng)

    def values(self, game: Game) -> Tensor:
        """(b,M): the total indices."""
        first, second = self._designs(game)
        scores = game.scores(_Swaps(first, second)).unflatten(1, (game.parts + 1, self.designs))
        plain, swapped = scores[:, :1], scores[:, 1:]
        variance = plain.var(2)
        # below the rounding of the scores there is no variance, only noise
        rounding = torch.finfo(game.inputs.dtype).eps * plain.abs().amax(2)
        share = (swapped - plain).square().mean(2) / (2 * variance)
        return torch.where(variance.sqrt() > rounding, share, torch.zeros_like(share))

    def _designs(self, game: Game) -> tuple[Tensor, Tensor]:
        """A and B, each (b,N,M): each column has one number in every N-th part of [0,1), in random order."""
        strata = game.uniform("order", self.designs, 2 * game.parts).argsort(1)
        points = (strata + game.uniform("place", self.designs, 2 * game.parts).double()) / self.designs
        return points[..., : game.parts], points[..., game.parts :]


@dataclass(frozen=True, eq=False)
class _Swaps:
    """Coalitions: the rows of A, then for each part the rows of A with this part from B."""

    first: Tensor
    second: Tensor

    def __len__(self) -> int:
        _, designs, parts = self.first.shape
        return designs * (parts + 1)

    def of(self, rows: Tensor, k: range) -> Tensor:
        """(b,len(k),M)."""
        _, designs, parts = self.first.shape
        number = torch.tensor(k)
        row, part = number % designs, number // designs - 1
        swapped = torch.arange(parts) == part[:, None]
        return torch.where(swapped, self.second[rows][:, row], self.first[rows][:, row])
