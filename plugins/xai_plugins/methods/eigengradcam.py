"""EigenGradCAM: EigenCAM (Muhammad & Yeasin 2020, arXiv:2008.00299, section 3) of activations times gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Probe, param
from xai_plugins.methods._cam import Cam
from xai_plugins.methods._principal import principal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EigenGradCam(Cam):
    """Gradients times activations projected on their first principal component, (B,1,h,w): EigenCAM for a class.

    Equation: L = (g * A) V_1, V_1 the first right singular vector of the (h*w, K) product; its sign is that of the
    product, so positive means support.
    """

    centred: bool = param(False, doc="subtract each channel's mean first, as some libraries do")

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """The projection."""
        return principal(activations * gradients, self.centred)
