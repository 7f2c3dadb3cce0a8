"""Grad-CAM. Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from xai_framework.core import ConfigError, Probe, Rng, param
from xai_plugins.methods._cam import Cam, weighted

if TYPE_CHECKING:
    from torch import Tensor

_RMS_FLOOR = 1e-5  # of the published recipe; on small gradients it decides the scale


@dataclass(frozen=True)
class GradCam(Cam):
    """relu(sum_k mean_ij(dS/dA_k) A_k), (B,1,h,w) on the layer's own grid: where the layer supports the class.

    Equations 1 and 2. The last three parameters are steps of published recipes, off by default. A map without evidence
    is zero, whatever it starts from.
    """

    normalise_gradients: bool = param(False, doc="divide each image's gradients by (root mean square + 1e-5) first")
    start: float = param(0.0, doc="added to the weighted sum before the cut at zero")
    quantise: bool = param(False, doc="give floor(255 * map / its largest value), as scripts that save 8 bits do")

    def __post_init__(self) -> None:
        """Raises ConfigError where 8 bits would have to hold a sign."""
        super().__post_init__()
        if self.quantise and not self.relu:
            raise ConfigError("a signed map does not fit 0..255", where="GradCam.quantise", fix="leave relu as it is")

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """Equation 2 before the cut."""
        if self.normalise_gradients:
            gradients = gradients / (gradients.square().mean((1, 2, 3), keepdim=True).sqrt() + _RMS_FLOOR)
        cam = weighted(activations, gradients.mean((2, 3), keepdim=True))
        return cam + self.start * cam.any(3, keepdim=True).any(2, keepdim=True) if self.start else cam

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """The map, in steps of 1/255 of its largest value where asked."""
        maps = super().explain(probe, inputs, targets, rng)
        if not self.quantise:
            return maps
        largest = maps.amax((1, 2, 3), keepdim=True)
        return (255 * maps / torch.where(largest > 0, largest, torch.ones_like(largest))).floor()
