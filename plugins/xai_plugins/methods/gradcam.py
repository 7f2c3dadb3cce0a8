"""Grad-CAM. Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GradCam(Explainer):
    """relu(sum_k mean_ij(dS/dA_k) A_k), (B,1,h,w) on the layer's own grid: where the layer supports the class."""

    layer: str = param("last", doc="module path, or last: the deepest layer that still has a grid")
    relu: bool = param(True, doc="keep only support (equation 2); false keeps the sign")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward pass, and a backward pass that stops at the layer."""
        return (Ask("layers", layers=(self.layer,), backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Equations 1 and 2."""
        activations, gradients = probe.layers(inputs, targets, (self.layer,))[self.layer]
        weights = gradients.mean((2, 3), keepdim=True)
        cam = (weights * activations).sum(1, keepdim=True)
        return cam.clamp(min=0) if self.relu else cam
