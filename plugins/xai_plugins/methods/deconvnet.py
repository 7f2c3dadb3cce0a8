"""Deconvnet. Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1; the form of Springenberg et al. 2014, figure 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Ask, Explainer, Probe, Reduction, Rng, Shape, param, reduce_channels
from xai_plugins.methods._rules import DECONVNET

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Deconvnet(Explainer):
    """The score projected back through rectifiers turned round, (B,C,H,W): textures that excite the network.

    Equation: R^l = (R^(l+1) > 0) R^(l+1) at each ReLU, wherever its input was; pooling uses the forward pass's
    switches. Networks with other non-linearities are refused.
    """

    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass under the rule."""
        return (Ask("gradient", rule=DECONVNET, backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        return reduce_channels(probe.gradient(inputs, targets, DECONVNET), self.reduce)
