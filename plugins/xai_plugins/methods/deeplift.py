"""DeepLIFT with the rescale rule. Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685, section 3.5.2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from xai_framework.core import Ask, Baseline, Explainer, File, Probe, Reduction, Rng, Shape, param, reduce_channels
from xai_plugins.methods._baselines import baseline_of, check_baseline
from xai_plugins.methods._rescale import RESCALE

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DeepLift(Explainer):
    """Contribution of every value's difference from the baseline, (B,C,H,W), signed, in units of the score.

    Equation: C = m (x - x'), multipliers m = dy/dx of differences through every non-linearity. Complete: for a logit it
    sums to S(x) - S(x') (equation 1 of the paper), through max pooling too. Networks that multiply activations with one
    another, or normalise them by themselves (gates, attention, layer norm), are refused.
    """

    baseline: Baseline = param("mean", doc="what inputs are compared with")
    image: File | None = param(None, doc="the picture of baseline=image")
    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_baseline(self.baseline, self.image, "DeepLift")

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Only with baseline=noise."""
        return self.baseline == "noise"

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass of input and baseline together."""
        return (Ask("gradient", rule=RESCALE, of="pairs", passes=2, backwards=2),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        start = baseline_of(probe, self.baseline, self.image, inputs, rng)
        return reduce_channels(contributions(probe, inputs, start, targets), self.reduce)


def contributions(probe: Probe, inputs: Tensor, baselines: Tensor, targets: Tensor) -> Tensor:
    """(B,C,H,W): multipliers times differences, for any baselines (B,C,H,W)."""
    pairs = torch.stack([inputs, baselines], 1).flatten(0, 1)
    multipliers = probe.gradient(pairs, targets.repeat_interleave(2, 0), RESCALE)[0::2]
    return multipliers * (inputs - baselines)
