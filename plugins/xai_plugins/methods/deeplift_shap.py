"""DeepLIFT averaged over baselines (DeepSHAP). Lundberg & Lee 2017, arXiv:1705.07874, section 4.2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

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
from xai_plugins.methods._rescale import RESCALE
from xai_plugins.methods.deeplift import contributions

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DeepLiftShap(Sampled):
    """Mean DeepLIFT contribution over random baselines x', (B,C,H,W), signed, in units of the score.

    Equation: E_x' m (x - x'). For a logit it sums to S(x) - mean S(x').
    """

    samples: int = param(16, ge=1, le=10_000, doc="baselines drawn")
    images: tuple[File, ...] | None = param(None, doc="pictures to draw baselines from; null: pictures of noise")
    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    @classmethod
    def example(cls) -> Self:
        """Few baselines."""
        return cls(samples=2)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass of input and baseline together, a draw."""
        ask = Ask("gradient", rule=RESCALE, passes=2, backwards=2)
        return asks_of_draws((ask,), self.samples, "deeplift pairs")

    def draw(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """DeepLIFT from one baseline a row."""
        if self.images is None:
            return contributions(probe, inputs, probe.baseline("noise", inputs, rng), targets)
        pictures = torch.cat([probe.reference(file) for file in self.images]).to(inputs)
        chosen = (rng.at("picture").uniform((len(inputs),)) * len(pictures)).long()
        return contributions(probe, inputs, pictures[chosen.to(inputs.device)], targets)

    def combine(self, draws: Moments) -> Tensor:
        """The mean of the draws."""
        return reduce_channels(draws.mean, self.reduce)
