"""Excitation backpropagation. Zhang, Lin, Brandt, Shen & Sclaroff 2016, arXiv:1608.00507, equation 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import Ask, Explainer, Probe, Rng, Rule, Shape, param
from xai_plugins.methods._lrp import PASSES, Propagation, Rules
from xai_plugins.methods._lrp_terms import zplus_rule

if TYPE_CHECKING:
    from torch import Tensor


def _rules() -> Rules:
    zplus = zplus_rule(bias=False)
    return Rules(conv=zplus, dense=zplus, first=zplus, epsilon=1e-9, stabiliser=1e-9, excitatory=True)


EXCITATION = Rule("excitation", make=lambda: Propagation(_rules()).table(), passes=PASSES)


@dataclass(frozen=True)
class ExcitationBackprop(Explainer):
    """Probability that a winner chosen top-down from the class ends at each place, (B,1,h,w), >= 0, sums to at most 1.

    Equation 5: P(a_j | a_i) proportional to a_j w+_ji, from the class down to ``layer``, summed over its channels.
    """

    version: ClassVar[int] = 2  # 2: sums and pooling share among positive contributions alone

    layer: str = param("last", doc="where the winners are counted: module path, last, or input")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass under the rule."""
        if self.layer == "input":
            return (Ask("gradient", rule=EXCITATION, backwards=1),)
        return (Ask("layers", layers=(self.layer,), rule=EXCITATION, backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        if self.layer == "input":
            winning = probe.gradient(inputs, targets, EXCITATION)
        else:
            winning = probe.layers(inputs, targets, (self.layer,), EXCITATION)[self.layer][1]
        return winning.sum(1, keepdim=True).clamp(min=0)
