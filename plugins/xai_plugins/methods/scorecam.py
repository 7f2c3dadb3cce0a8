"""Score-CAM. Wang, Wang, Du, Yang, Zhang, Ding, Mardziel & Hu 2020, arXiv:1910.01279, definition 3 and algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from xai_framework.core import Ask, Probe, Shape, param, resize
from xai_plugins.methods._cam import Cam, weighted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ScoreCam(Cam):
    """relu(sum_k w_k A_k), w_k the score when only what channel k sees is shown, (B,1,h,w): no gradients needed.

    Algorithm 1: each channel, resampled to the input and scaled to [0,1], is a mask; w = softmax_k(S(x * mask_k) -
    S(baseline)). Where no mask changes the score at all, there is no evidence and the map is 0.
    """

    gradients: ClassVar[bool] = False

    fill: Literal["mean", "black", "white", "blur"] = param("mean", doc="what stands where the mask hides")
    weights: Literal["softmax", "increase"] = param("softmax", doc="softmax over channels, or the increases themselves")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One pass for the activations, one a channel; how many channels is not known before."""
        return (*super().needs(about), Ask("scores", passes=512 * len(self.layer)))

    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """Algorithm 1 for one layer."""
        fill = probe.baseline(self.fill, inputs)
        shown = probe.scores(inputs, targets, _Seen(activations, fill))
        increase = shown - probe.score(fill, targets)[:, None]
        weights = increase
        if self.weights == "softmax":
            weights = increase.softmax(1) * (increase != 0).any(1, keepdim=True)
        return weighted(activations, weights[:, :, None, None])


@dataclass(frozen=True, eq=False)
class _Seen:
    """Edits: the input where channel k fires, the fill elsewhere. Masks are made when asked for: all at once would
    take gigabytes.
    """

    activations: Tensor
    fill: Tensor
    at: str = "input"

    def __len__(self) -> int:
        return self.activations.shape[1]

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """(b,C,H,W) -> (b*len(k),C,H,W)."""
        masks = resize(self.activations[rows, k.start : k.stop], (x.shape[-2], x.shape[-1]))
        low = masks.amin((2, 3), keepdim=True)
        spread = masks.amax((2, 3), keepdim=True) - low
        masks = (masks - low) / torch.where(spread > 0, spread, torch.ones_like(spread))
        fill = self.fill[rows][:, None]
        return (fill + (x[:, None] - fill) * masks[:, :, None]).flatten(0, 1)
