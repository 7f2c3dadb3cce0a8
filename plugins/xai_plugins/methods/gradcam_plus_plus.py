"""Grad-CAM++. Chattopadhyay, Sarkar, Howlader & Balasubramanian 2018, arXiv:1710.11063, equations 10, 11 and 19."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from xai_framework.core import Probe
from xai_plugins.methods._cam import Cam, weighted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GradCamPlusPlus(Cam):
    """relu(sum_k w_k A_k) with w_k = sum_ij a_k(i,j) relu(dS/dA_k(i,j)), (B,1,h,w): several objects count alike.

    Equation 19, for exp(S): a = g^2 / (2 g^2 + sum_ij A g^3). The factor exp(S) of every weight is left out.
    """

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """Equations 10 and 11."""
        # a does not change when all gradients are divided by one number: without it their cubes fall out of float32
        scale = gradients.abs().amax((1, 2, 3), keepdim=True)
        g = gradients / torch.where(scale > 0, scale, torch.ones_like(scale))
        below = 2 * g.square() + (activations * g.pow(3)).sum((2, 3), keepdim=True)
        alphas = torch.where(below != 0, g.square() / torch.where(below != 0, below, torch.ones_like(below)), 0)
        return weighted(activations, (alphas * gradients.clamp(min=0)).sum((2, 3), keepdim=True))
