"""Guided backpropagation. Springenberg, Dosovitskiy, Brox & Riedmiller 2014, arXiv:1412.6806, figure 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Ask, Explainer, Probe, Reduction, Rng, Shape, param, reduce_channels
from xai_plugins.methods._rules import GUIDED

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GuidedBackprop(Explainer):
    """The gradient with negative values cut at every ReLU on the way back, (B,C,H,W): sharp, nearly the same for
    every class.

    Equation: R^l = (f^l > 0) (R^(l+1) > 0) R^(l+1) at each ReLU and ReLU6, whether a module, a function or in place.
    Networks with other non-linearities are refused.
    """

    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass under the rule."""
        return (Ask("gradient", rule=GUIDED, backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        return reduce_channels(probe.gradient(inputs, targets, GUIDED), self.reduce)
