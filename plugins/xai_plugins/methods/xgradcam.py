"""XGrad-CAM. Fu, Hu, Dong, Guo, Gao & Li 2020, arXiv:2008.02312."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from xai_framework.core import Probe
from xai_plugins.methods._cam import Cam, weighted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class XGradCam(Cam):
    """relu(sum_k w_k A_k) with w_k = sum_ij A_k g_k / sum_ij A_k, (B,1,h,w): gradients count where the channel fires.

    Equation: the axiom-based weights. A channel whose activations sum to 0 has weight 0.
    """

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """The weights of the equation."""
        total = activations.sum((2, 3), keepdim=True)
        share = (activations * gradients).sum((2, 3), keepdim=True)
        return weighted(activations, torch.where(total != 0, share / torch.where(total != 0, total, 1), 0))
