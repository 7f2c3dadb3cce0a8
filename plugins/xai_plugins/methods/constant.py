"""The constant control: every pixel alike. Samek et al. 2017, arXiv:1509.06321, section III compares rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import Explainer, Probe, Rng

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Constant(Explainer):
    """Ones, (B,1,H,W): what a metric gives to a map without an opinion. Equation: m = 1."""

    class_specific: ClassVar[bool] = False

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """No question to the probe."""
        return inputs.new_ones(len(inputs), 1, *inputs.shape[2:])
