"""Pictures near a picture, and their maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch

from xai_framework.core import Case, Metric, Rng, Shape, param

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Neighbours(Metric):
    """What a map's distance from those of random neighbours is at most. The noise is the same for all methods."""

    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    family: ClassVar[Literal["robustness"]] = "robustness"
    stochastic: ClassVar[bool] = True
    explains: ClassVar[bool] = True

    draws: int = param(10, ge=1, le=10_000, doc="random neighbours")
    radius: float = param(0.1, gt=0, doc="no input value changes by more, in input units")

    @classmethod
    def example(cls) -> Self:
        """Two neighbours."""
        return cls(draws=2)

    def explanations(self, about: Shape) -> int:
        """One a neighbour."""
        return self.draws

    def distances(self, case: Case) -> Iterator[tuple[Tensor, Tensor]]:
        """(B,) float64 twice for each draw: how far the neighbour is, and how far its map is; Euclidean."""
        stream = case.rng.shared("neighbours")
        for draw in range(self.draws):
            here = stream.at(draw)
            with here.scope():  # a named batch: several questions of a method to it share a pass
                nearby = here.once(("neighbour", self.radius), case.inputs, partial(self._nearby, here))
                maps = case.explain(case.probe, nearby, case.targets)
                yield norm(nearby - case.inputs), norm(maps - case.maps)

    def _nearby(self, here: Rng, x: Tensor) -> Tensor:
        return x + self.radius * (2 * here.uniform(x.shape) - 1).to(x)

    def largest(self, case: Case, ratios: Iterator[Tensor]) -> Tensor:
        """(B,): the largest ratio of each image; NaN, said why, where a neighbour's map is not finite."""
        found = torch.stack(list(ratios)).amax(0)
        for i in (~found.isfinite()).nonzero()[:, 0].tolist():
            case.undefined(i, "a neighbour's map is not finite")
        return found.masked_fill(~found.isfinite(), torch.nan)


def norm(maps: Tensor) -> Tensor:
    """(B,...) -> (B,) float64."""
    size: Tensor = torch.linalg.vector_norm(maps.double().flatten(1), dim=1)
    return size
