"""EigenCAM. Muhammad & Yeasin 2020, arXiv:2008.00299, section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import Probe, param
from xai_plugins.methods._cam import Cam
from xai_plugins.methods._principal import principal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EigenCam(Cam):
    """The activations projected on their first principal component, (B,1,h,w): what the layer sees most of, whatever
    the class; no backward pass.

    Equation: L = A V_1, V_1 the first right singular vector of the (h*w, K) activations. Its sign, which the equation
    leaves open, is that of the activations.
    """

    class_specific: ClassVar[bool] = False
    gradients: ClassVar[bool] = False

    centred: bool = param(False, doc="subtract each channel's mean first, as some libraries do")

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """The projection."""
        return principal(activations, self.centred)
