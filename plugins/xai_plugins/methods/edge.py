"""The edge control. Adebayo et al. 2018, arXiv:1810.03292, section 4, compare attributions with an edge detector.

A map that knows the picture, not the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F

from xai_framework.core import Explainer, Probe, Rng

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Edge(Explainer):
    """Sobel gradient magnitude of the grey picture, (B,1,H,W), >= 0.

    Equation: sqrt(Gx^2 + Gy^2) with Sobel's 3x3 kernels on the mean of the channels in [0,1]; the border is repeated.
    """

    class_specific: ClassVar[bool] = False

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """No pass through the network."""
        grey = probe.pixels(inputs).mean(1, keepdim=True)
        across = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        kernels = torch.stack([across, across.T])[:, None]
        edges = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
        return edges.square().sum(1, keepdim=True).sqrt()
