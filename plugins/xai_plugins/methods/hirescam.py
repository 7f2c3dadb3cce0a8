"""HiResCAM. Draelos & Carin 2020, arXiv:2011.08891."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Probe
from xai_plugins.methods._cam import Cam, weighted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class HiResCam(Cam):
    """relu(sum_k g_k * A_k) position by position, (B,1,h,w): exact where a linear head follows the layer.

    Equation: the elementwise product instead of averaged weights. With ``relu=false`` the map sums to S minus the
    bias of such a head.
    """

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """Gradients are the weights."""
        return weighted(activations, gradients)
