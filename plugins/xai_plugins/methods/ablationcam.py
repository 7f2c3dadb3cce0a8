"""Ablation-CAM. Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360, equations 3 and 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from xai_framework.core import Ask, Channels, Probe, Shape
from xai_plugins.methods._cam import Cam, weighted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AblationCam(Cam):
    """relu(sum_k w_k A_k), w_k the share of the score lost when channel k is set to 0, (B,1,h,w): no gradients needed.

    Equations 3 and 4: w_k = (S - S_k) / S, divided by |S| so that the sign of the score does not turn the map round.
    Only the part of the network behind the layer is run for each channel.
    """

    gradients: ClassVar[bool] = False

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One pass for the activations, and the part behind the layer for each channel."""
        return (*super().needs(about), Ask("scores", layers=self.layer, grads=False, passes=32))

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """The equations for one layer."""
        scores = probe.scores(inputs, targets, _AblatedAndWhole(activations.shape[1], at=layer))
        ablated, whole = scores[:, :-1], scores[:, -1:]
        size = whole.abs()
        weights = (whole - ablated) / torch.where(size > 0, size, torch.ones_like(size))
        return weighted(activations, weights[:, :, None, None])


@dataclass(frozen=True, eq=False)
class _AblatedAndWhole(Channels):
    """The last copy is the activation as it is: its score then comes from the same pass as the others, whose
    differences from it are small.
    """

    def __len__(self) -> int:
        return self.count + 1

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """Copies with channel k set to 0."""
        if k.stop <= self.count:
            return super().make(x, rows, k)
        ablated = super().make(x, rows, range(k.start, self.count)) if k.start < self.count else x[:0]
        return torch.cat([ablated.view(len(x), -1, *x.shape[1:]), x[:, None]], 1).flatten(0, 1)
