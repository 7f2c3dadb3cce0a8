"""Completeness. Sundararajan, Taly & Yan 2017, arXiv:1703.01365, section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from xai_framework.core import Ask, Case, Metric, Shape, param
from xai_plugins.metrics._heat import where

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-6  # of a score: a smaller gain is none


@dataclass(frozen=True)
class Completeness(Metric):
    """By how much the map's values fail to add up to what the score gained over a baseline, relative to that gain.

    Equation: |sum m - (S(x) - S(x'))| / |S(x) - S(x')|. Lower is better; 0..inf, and a map of zeros would get 1. One
    image whose score gains next to nothing can outweigh all others in a mean: compare medians or ranks. All
    values are summed with their sign, so only a map in units of the score can do well. Magnitudes and ranks are no
    such map: one without a negative value has NaN. ``baseline`` is to be the method's own. Not enlarged: a map on
    another grid than the input's is no sum over the input, and has NaN, as an image has whose score is the baseline's.
    Two passes.
    """

    version: ClassVar[int] = 2

    family: ClassVar[Literal["axiomatic"]] = "axiomatic"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    baseline: Literal["mean", "black", "white", "blur"] = param("mean", doc="the input that stands for no evidence")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The clean score and the baseline's."""
        return (Ask("score"), Ask("score", of=("baseline", self.baseline)))

    def measure(self, case: Case) -> Tensor:
        """Two scores and a sum."""
        total = case.maps.double().flatten(1).sum(1)
        baseline = case.probe.baseline(self.baseline, case.inputs)
        before, after = (case.probe.score(x, case.targets).double() for x in (baseline, case.inputs))
        gain = after - before
        gained = gain.abs() > _ROUNDING * after.abs()
        signed = (case.maps < 0).flatten(1).any(1)
        grid, size = tuple(case.maps.shape[-2:]), tuple(case.inputs.shape[-2:])
        for i in range(len(total)):
            if grid != size:
                case.undefined(i, f"the map has a grid of {_text(grid)}, the input of {_text(size)}")
            elif not signed[i]:
                case.undefined(i, "the map has no negative value: magnitudes do not add up to a gain of the score")
            elif not gained[i]:
                case.undefined(i, "the score is the baseline's")
        return where(gained & signed & (grid == size), (total - gain).abs() / gain.abs())


def _text(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
