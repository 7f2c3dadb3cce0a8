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
    """relu(sum_k w_k A_k) with w_k = sum_ij a_ij relu(dS/dA_ij), (B,1,h,w): several objects of the class count alike.

    Equation 19, for exp(S): a_ij = g_ij^2 / (2 g_ij^2 + sum_ab A_ab g_ij^3) = 1 / (2 + g_ij sum_ab A_ab) where
    g_ij is not 0, and 0 elsewhere. The factor exp(S) of every weight is left out.
    """

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """Equations 10, 11 and 19; the short form of a has no third powers, which fall out of float32."""
        positive = gradients.clamp(min=0)
        below = 2 + gradients * activations.sum((2, 3), keepdim=True)
        weights = torch.where(below != 0, positive / torch.where(below != 0, below, 1), 0)
        return weighted(activations, weights.sum((2, 3), keepdim=True))
