"""Layer-wise relevance propagation. Bach et al. 2015, doi:10.1371/journal.pone.0130140.

Rules and composites: Montavon, Binder, Lapuschkin, Samek & Mueller 2019, doi:10.1007/978-3-030-28954-6_10.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from xai_framework.core import Ask, ConfigError, Explainer, Probe, Reduction, Rng, Rule, Shape, param, reduce_channels
from xai_plugins.methods._lrp import PASSES, Propagation, Rules
from xai_plugins.methods._lrp_terms import (
    LrpRule,
    alpha_beta_rule,
    box_rule,
    epsilon_rule,
    flat_rule,
    gamma_rule,
    zplus_rule,
)

if TYPE_CHECKING:
    from torch import Tensor

Composite = Literal[
    "epsilon_plus_flat",
    "epsilon_gamma_box",
    "epsilon_plus",
    "epsilon_alpha_beta_flat",
    "epsilon",
    "gamma",
    "alpha_beta",
    "zplus",
]


@dataclass(frozen=True)
class Lrp(Explainer):
    """Relevance of every input value, (B,C,H,W), signed, in units of the score: the score handed back layer by layer.

    Equation 58 of Bach et al. and the rules of the composite: ``epsilon_plus_flat`` is epsilon for dense layers, z+ for
    convolutions, flat for the first layer; ``epsilon_gamma_box`` takes gamma and z^B instead. It starts with what
    every output adds to the score: the logit, or both logits of a contrast; a probability is no such sum and is
    refused. Batch norm is folded into the layer in front of it (without one it passes relevance on), summands share in
    proportion to what they contribute, max pooling passes to the winner. The sum over inputs is the score less what
    biases and epsilon absorb. Networks with other functions than these are refused.
    """

    version: ClassVar[int] = 2  # 2: constants are shared alike however they are written; z^B asks for the input itself

    composite: Composite = param("epsilon_plus_flat", doc="which rule applies to which layers")
    epsilon: float = param(1e-6, gt=0, doc="of the epsilon rule: larger absorbs more weak contributions")
    gamma: float = param(0.25, ge=0, doc="of the gamma rule: larger favours positive weights")
    alpha: float = param(2.0, ge=1, doc="of the alpha-beta rule: factor of positive contributions")
    beta: float = param(1.0, ge=0, doc="of the alpha-beta rule: factor of negative ones; alpha - 1")
    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(self.alpha - self.beta - 1) > 1e-9:
            raise ConfigError(
                f"alpha {self.alpha} - beta {self.beta} is not 1: relevance would be made or lost",
                where="Lrp.beta",
                fix=f"use beta={self.alpha - 1:g}",
            )

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one (longer) backward pass under the rule."""
        return (Ask("gradient", of="row", rule=self._rule(), backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Relevance flows in place of the gradient."""
        low, high = (probe.baseline(name, inputs[:1])[:, :, :1, :1] for name in ("black", "white"))
        # row by row: quotients of small sums magnify the rounding by which batches of other sizes differ
        rows = zip(inputs.split(1), targets.split(1), strict=True)
        relevance = [probe.gradient(x, t, self._rule((x, low, high))) for x, t in rows]
        return reduce_channels(torch.cat(relevance), self.reduce)

    def _rule(self, box: tuple[Tensor, Tensor, Tensor] | None = None) -> Rule:
        """``box`` is the input and its bounds (1,C,1,1); they follow from image and backbone."""
        values = {"epsilon": self.epsilon, "gamma": self.gamma, "alpha": self.alpha, "beta": self.beta}
        params = (("composite", self.composite), *values.items())
        return Rule("lrp", params, make=lambda: Propagation(self._rules(box)).table(), passes=PASSES, relevance=True)

    def _rules(self, bounds: tuple[Tensor, Tensor, Tensor] | None) -> Rules:
        zplus, gamma = zplus_rule(), partial(gamma_rule, self.gamma)
        alpha_beta = partial(alpha_beta_rule, self.alpha, self.beta)
        box: LrpRule = epsilon_rule if bounds is None else partial(box_rule, *bounds)
        # convolutions, dense layers, the first layer
        table: dict[Composite, tuple[LrpRule, LrpRule, LrpRule]] = {
            "epsilon_plus_flat": (zplus, epsilon_rule, flat_rule),
            "epsilon_gamma_box": (gamma, epsilon_rule, box),
            "epsilon_plus": (zplus, epsilon_rule, zplus),
            "epsilon_alpha_beta_flat": (alpha_beta, epsilon_rule, flat_rule),
            "epsilon": (epsilon_rule, epsilon_rule, epsilon_rule),
            "gamma": (gamma, gamma, gamma),
            "alpha_beta": (alpha_beta, alpha_beta, alpha_beta),
            "zplus": (zplus, zplus, zplus),
        }
        conv, dense, first = table[self.composite]
        if self.composite == "epsilon":
            return Rules(conv, dense, first, self.epsilon, stabiliser=self.epsilon)
        return Rules(conv, dense, first, self.epsilon)
