"""Gradient (vanilla saliency). Simonyan, Vedaldi & Zisserman 2013, arXiv:1312.6034, section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Ask, Explainer, Probe, Reduction, Rng, Shape, param, reduce_channels

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Gradient(Explainer):
    """d score / d input, (B,C,H,W), signed: how the score answers to a small change of each input value.

    Equation: w = dS_c/dI (section 3); ``reduce=max_abs`` is the paper's picture M_ij = max_c |w_ijc|.
    """

    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass."""
        return (Ask("gradient", backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        return reduce_channels(probe.gradient(inputs, targets), self.reduce)
