"""Class activation mapping. Zhou, Khosla, Lapedriza, Oliva & Torralba 2016, arXiv:1512.04150, equation 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import NotApplicable, Probe, param
from xai_plugins.methods._cam import Cam, weighted

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-4


@dataclass(frozen=True)
class ClassActivationMapping(Cam):
    """sum_k w_k A_k with the weights of the linear head, (B,1,h,w), signed: where the layer's evidence lies.

    Equation 2. Only for networks that end in global average pooling and a linear layer behind ``layer``: there
    sum_ij dS/dA_k is the head's weight, the same at every position. Other networks are refused.
    """

    relu: bool = param(False, doc="keep only support; false keeps the sign")

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """Raises NotApplicable where the gradient depends on the position."""
        spread = gradients.amax((2, 3)) - gradients.amin((2, 3))
        if (spread > _ROUNDING * gradients.abs().amax((1, 2, 3))[:, None]).any():
            raise NotApplicable(
                f"behind layer {layer!r} the network is not average pooling and a linear head; use gradcam or hirescam"
            )
        return weighted(activations, gradients.sum((2, 3), keepdim=True))
