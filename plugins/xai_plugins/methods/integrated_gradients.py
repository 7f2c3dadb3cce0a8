"""Integrated gradients. Sundararajan, Taly & Yan 2017, arXiv:1703.01365, equations 1 and 3."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from xai_framework.core import Ask, Baseline, Explainer, File, Probe, Reduction, Rng, Shape, param, reduce_channels
from xai_plugins.methods._baselines import baseline_of, check_baseline
from xai_plugins.methods._rules import RuleName, rule_of

if TYPE_CHECKING:
    from torch import Tensor

Sum = Literal["gauss_legendre", "midpoint", "left", "right", "trapezoid"]

_ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class IntegratedGradients(Explainer):
    """(x - x') * mean gradient on the straight line from the baseline x' to x, (B,C,H,W), in units of the score.

    Equation 1. Complete: over all values it sums to S(x) - S(x') (proposition 1), up to the error of the sum
    (equation 3), which :meth:`completeness_gap` gives.
    """

    steps: int = param(32, ge=1, le=10_000, doc="points on the path")
    sum: Sum = param("gauss_legendre", doc="where the points lie, and their weights")
    baseline: Baseline = param("mean", doc="where the path starts")
    image: File | None = param(None, doc="the picture of baseline=image")
    rule: RuleName = param("plain", doc="what rectifiers do to the gradient")
    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_baseline(self.baseline, self.image, "IntegratedGradients")

    @classmethod
    def example(cls) -> Self:
        """Few points."""
        return cls(steps=4)

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Only with baseline=noise."""
        return self.baseline == "noise"

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass a point."""
        return (Ask("gradient", rule=rule_of(self.rule), of="path", passes=self.steps, backwards=self.steps),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Equation 3, several points in one pass."""
        start = baseline_of(probe, self.baseline, self.image, inputs, rng)
        difference = inputs - start
        mean = inputs.new_zeros(inputs.shape)
        at, weights = points(self.steps, self.sum)
        group = max(1, _ROWS_AT_ONCE // len(inputs))
        for first in range(0, len(at), group):
            alphas = inputs.new_tensor(at[first : first + group])
            path = start[:, None] + alphas[:, None, None, None] * difference[:, None]
            many = targets.repeat_interleave(len(alphas), 0)
            gradients = probe.gradient(path.flatten(0, 1), many, rule_of(self.rule)).view(path.shape)
            weight = inputs.new_tensor(weights[first : first + group])
            mean += (weight[:, None, None, None] * gradients).sum(1)
        return reduce_channels(difference * mean, self.reduce)

    def completeness_gap(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """(B,): sum of the map - (S(x) - S(x')); 0 for an exact integral. Costs the map and two forward passes."""
        start = baseline_of(probe, self.baseline, self.image, inputs, rng)
        maps = self.replace(reduce="none").explain(probe, inputs, targets, rng)
        return maps.sum((1, 2, 3)) - (probe.score(inputs, targets) - probe.score(start, targets))


@lru_cache(maxsize=64)
def points(steps: int, how: Sum) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Where the integral over [0,1] is sampled, and the weights, which sum to 1."""
    if how == "gauss_legendre":
        at, weights = np.polynomial.legendre.leggauss(steps)
        return tuple((at + 1) / 2), tuple(weights / 2)
    if how == "trapezoid" and steps > 1:
        weights = np.full(steps, 1 / (steps - 1))
        weights[[0, -1]] /= 2
        return tuple(np.linspace(0, 1, steps)), tuple(weights)
    shift = {"left": 0.0, "right": 1.0}.get(how, 0.5)
    return tuple((np.arange(steps) + shift) / steps), (1 / steps,) * steps
