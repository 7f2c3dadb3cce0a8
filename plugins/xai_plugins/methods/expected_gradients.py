"""Expected gradients. Erion, Janizek, Sturmfels, Lundberg & Lee 2021, arXiv:1906.10670."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch

from xai_framework.core import (
    Ask,
    File,
    Moments,
    Probe,
    Reduction,
    Rng,
    Sampled,
    Shape,
    asks_of_draws,
    param,
    reduce_channels,
)
from xai_plugins.methods._rules import RuleName, rule_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ExpectedGradients(Sampled):
    """E over baselines x' and a in [0,1] of (x - x') * dS/dx at x' + a (x - x'), (B,C,H,W), in units of the score.

    Equation: E_(x', a) of that product, integrated gradients averaged over baselines: each draw is one random point of
    one path. In expectation the map sums to S(x) - E S(x'). Known elsewhere as GradientSHAP.
    """

    samples: int = param(64, ge=1, le=10_000, doc="draws of a baseline and a point on its path")
    baseline: Literal["noise", "mean", "black", "white", "blur"] = param(
        "noise", doc="the baseline of every draw: a picture of noise (a new one each time), or a fixed one"
    )
    images: tuple[File, ...] | None = param(None, doc="pictures to draw baselines from, instead")
    sigma: float = param(0.0, ge=0, doc="noise on the input, as a fraction of its max - min")
    rule: RuleName = param("plain", doc="what rectifiers do to the gradient")
    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    @classmethod
    def example(cls) -> Self:
        """Few draws."""
        return cls(samples=3)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass a draw."""
        ask = Ask("gradient", rule=rule_of(self.rule), backwards=1)
        return asks_of_draws((ask,), self.samples, "expected gradients")

    def draw(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """The product, for one baseline and one point."""
        start = self._start(probe, inputs, rng)
        if self.sigma:
            spread = inputs.amax((1, 2, 3), keepdim=True) - inputs.amin((1, 2, 3), keepdim=True)
            inputs = inputs + self.sigma * spread * rng.at("input").normal(inputs.shape).to(inputs)
        alpha = rng.at("point").uniform((len(inputs), 1, 1, 1)).to(inputs)
        difference = inputs - start
        return difference * probe.gradient(start + alpha * difference, targets, rule_of(self.rule))

    def combine(self, draws: Moments) -> Tensor:
        """The mean of the draws."""
        return reduce_channels(draws.mean, self.reduce)

    def _start(self, probe: Probe, inputs: Tensor, rng: Rng) -> Tensor:
        """(B,C,H,W): each row's baseline."""
        if self.images is None:
            return probe.baseline(self.baseline, inputs, rng)
        pictures = torch.cat([probe.reference(file) for file in self.images]).to(inputs)
        chosen = (rng.at("picture").uniform((len(inputs),)) * len(pictures)).long()
        return pictures[chosen.to(inputs.device)]
