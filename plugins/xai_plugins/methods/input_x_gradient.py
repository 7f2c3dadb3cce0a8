"""Input x gradient. Shrikumar, Greenside, Shcherbina & Kundaje 2016, arXiv:1605.01713."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Ask, Baseline, Explainer, File, Probe, Reduction, Rng, Shape, param, reduce_channels
from xai_plugins.methods._baselines import baseline_of, check_baseline
from xai_plugins.methods._rules import RuleName, rule_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class InputXGradient(Explainer):
    """(x - baseline) * d score / d x, (B,C,H,W), in units of the score: each value's share in a linear approximation.

    Equation: x_i dS/dx_i, measured from a baseline, which is 0 (``mean``) there. It depends on the space:
    in pixel space the same network gives another map.
    """

    baseline: Baseline = param("mean", doc="what stands for no evidence")
    image: File | None = param(None, doc="the picture of baseline=image")
    rule: RuleName = param("plain", doc="what rectifiers do to the gradient")
    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_baseline(self.baseline, self.image, "InputXGradient")

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Only with baseline=noise."""
        return self.baseline == "noise"

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass."""
        return (Ask("gradient", rule=rule_of(self.rule), backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        difference = inputs - baseline_of(probe, self.baseline, self.image, inputs, rng)
        return reduce_channels(difference * probe.gradient(inputs, targets, rule_of(self.rule)), self.reduce)
