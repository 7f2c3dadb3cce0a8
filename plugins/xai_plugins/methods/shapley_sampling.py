"""Shapley values by sampled permutations. Castro, Gómez & Tejada 2009, doi:10.1016/j.cor.2008.04.004, section 3.

For explanations: Štrumbelj & Kononenko 2014, doi:10.1007/s10115-013-0679-x, algorithm 1; pairs of an order and its
reverse: Mitchell, Cooper, Frank & Holmes 2022, arXiv:2104.12199, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param
from xai_plugins.methods._coalitions import Game, play
from xai_plugins.methods._segments import Fill, How

if TYPE_CHECKING:
    from torch import Tensor

_MOST_ENUMERATED = 8


@dataclass(frozen=True)
class ShapleySampling(Explainer):
    """Shapley values of the parts of the picture, signed, in units of the score: (B,1,cells,cells), or (B,1,H,W).

    Equation: the definition phi_i = 1/M! sum over orders of (S(parts before i, and i) - S(parts before i)), as the mean
    over ``orders`` random ones (section 3 of the first paper). Whatever their number, all values sum to S(x) - S(fill).
    All M! orders are taken where there are no more than ``orders``, and the values are then exact.
    """

    stochastic: ClassVar[bool] = True

    orders: int = param(20, ge=1, le=100_000, doc="random orders in which parts appear; cells^2 - 1 passes each")
    paired: bool = param(True, doc="follow each order by its reverse, which lowers the variance")
    segments: How = param("grid", doc="rectangles, or superpixels (needs scikit-image)")
    cells: int = param(7, ge=1, le=64, doc="parts a side; about cells x cells superpixels")
    fill: Fill = param("mean", doc="what is put in place of a part")

    @classmethod
    def example(cls) -> Self:
        """Few orders."""
        return cls(orders=3, cells=2)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward pass for each proper beginning of an order, and those of picture and fill."""
        return (Ask("scores", passes=self.orders * (self.cells**2 - 1) + 2),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Parts appear one after another; each is paid what it adds."""
        return play(self, probe, inputs, targets, rng)

    def values(self, game: Game) -> Tensor:
        """(b,M): the Shapley values."""
        places = self._places(game)
        count = places.shape[1]
        scores = game.scores(_Beginnings(places))
        inner = scores[:, 2:].reshape(len(game), count, game.parts - 1)
        ends = scores[:, None, :2].expand(-1, count, -1)
        steps = torch.cat([ends[..., :1], inner, ends[..., 1:]], 2)
        # places says when a part came: its gain is the step at that place
        return steps.diff(dim=2).gather(2, places.to(steps.device)).mean(1)

    def _places(self, game: Game) -> Tensor:
        """(b,orders,M): at which place of each order a part comes."""
        parts = game.parts
        if parts <= _MOST_ENUMERATED and factorial(parts) <= self.orders:
            return torch.tensor(list(permutations(range(parts)))).expand(len(game), -1, -1)
        drawn = (self.orders + 1) // 2 if self.paired else self.orders
        places = game.uniform("order", drawn, parts).argsort(2)
        if not self.paired:
            return places
        return torch.stack([places, parts - 1 - places], 2).flatten(1, 2)[:, : self.orders]


@dataclass(frozen=True, eq=False)
class _Beginnings:
    """Coalitions: nobody, everybody, then the proper beginnings of each order, given by ``places`` (b,orders,M)."""

    places: Tensor

    def __len__(self) -> int:
        _, orders, parts = self.places.shape
        return 2 + orders * (parts - 1)

    def of(self, rows: Tensor, k: range) -> Tensor:
        """(b,len(k),M)."""
        parts = self.places.shape[2]
        inner = torch.tensor(k) - 2
        order = inner.clamp(min=0) // max(1, parts - 1)
        size = torch.where(inner < 0, (inner + 2) * parts, inner % max(1, parts - 1) + 1)
        return self.places[rows][:, order] < size[:, None]
