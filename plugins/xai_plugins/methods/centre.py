"""The centre control. Zhang et al. 2016, arXiv:1608.00507, section 4.2, report it beside the pointing game.

Photographers put things in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from xai_framework.core import Explainer, Probe, Rng, param

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Centre(Explainer):
    """A Gaussian hill in the middle, (B,1,H,W), the same for every image, in (0,1].

    Equation: exp(-r^2 / (2 sigma^2)), r the distance from the centre with each axis scaled to [-1,1].
    """

    class_specific: ClassVar[bool] = False

    sigma: float = param(0.5, gt=0, le=10, doc="width of the hill, as a share of half the side")

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """No question to the probe."""
        height, width = inputs.shape[2:]
        y, x = (
            ((torch.arange(n, dtype=inputs.dtype, device=inputs.device) + 0.5) * 2 / n - 1) for n in (height, width)
        )
        hill = torch.exp(-(y[:, None].square() + x.square()) / (2 * self.sigma**2))
        return hill.expand(len(inputs), 1, height, width).clone()
