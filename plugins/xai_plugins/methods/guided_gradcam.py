"""Guided Grad-CAM. Selvaraju et al. 2017, arXiv:1610.02391, section 3.2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param, resize
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.methods.guided_backprop import GuidedBackprop

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GuidedGradCam(Explainer):
    """Guided backpropagation times Grad-CAM, (B,C,H,W): fine detail where the layer supports the class.

    Equation: the product of section 3.2 ("fusing"), Grad-CAM resampled bilinearly to the input.
    """

    layer: tuple[str, ...] = param(("last",), doc="module path, or last; several are fused")
    quantise: bool = param(False, doc="round Grad-CAM to 8 bits before resampling, as old scripts do")

    @property
    def _cam(self) -> GradCam:
        return GradCam(layer=self.layer, quantise=self.quantise)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """A pass under the rule, and Grad-CAM's."""
        return (*GuidedBackprop().needs(about), *self._cam.needs(about))

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """The product."""
        height, width = inputs.shape[2:]
        cam = resize(self._cam.explain(probe, inputs, targets, rng), (height, width))
        return GuidedBackprop().explain(probe, inputs, targets, rng) * cam
