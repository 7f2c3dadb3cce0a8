"""LayerCAM. Jiang, Zhang, Hou, Cheng & Wei 2021, doi:10.1109/TIP.2021.3089943."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Probe
from xai_plugins.methods._cam import Cam, weighted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LayerCam(Cam):
    """relu(sum_k relu(g_k) * A_k) position by position, (B,1,h,w): fine detail also from early layers.

    Equation: positive gradients are the weights of their own positions.
    """

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """Positive gradients are the weights."""
        return weighted(activations, gradients.clamp(min=0))
