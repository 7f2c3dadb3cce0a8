"""Blur integrated gradients. Xu, Venugopalan & Sundararajan 2020, arXiv:2004.03383, equation 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from xai_framework.core import Ask, Explainer, Probe, Reduction, Rng, Shape, blur, param, reduce_channels
from xai_plugins.methods._rules import RuleName, rule_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class BlurIntegratedGradients(Explainer):
    """Gradients integrated along the path from a blurred picture to the sharp one, (B,C,H,W), in units of the score.

    Equation 4: sum over steps of dS/dx times the change of x as the Gaussian's sigma falls evenly to 0. Needs no
    baseline; sums to S(x) - S(blurred x) in the limit of many steps.
    """

    steps: int = param(50, ge=1, le=10_000, doc="points on the path")
    sigma: float = param(50.0, gt=0, le=1000, doc="where the path starts, in pixels of the input")
    rule: RuleName = param("plain", doc="what rectifiers do to the gradient")
    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    @classmethod
    def example(cls) -> Self:
        """Few points."""
        return cls(steps=3, sigma=4.0)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass a point."""
        return (Ask("gradient", rule=rule_of(self.rule), of="path", passes=self.steps, backwards=self.steps),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Gradients in the middle of each step, times the step."""
        total = inputs.new_zeros(inputs.shape)
        here = blur(inputs, self.sigma)
        for step in range(self.steps):
            sigma = self.sigma * (1 - (step + 1) / self.steps)
            there = blur(inputs, sigma) if step + 1 < self.steps else inputs
            total += (there - here) * probe.gradient((here + there) / 2, targets, rule_of(self.rule))
            here = there
        return reduce_channels(total, self.reduce)
