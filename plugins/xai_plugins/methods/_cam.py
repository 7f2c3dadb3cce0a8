"""What all class activation maps share: weights times activations, and several layers as one map."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param, resize

if TYPE_CHECKING:
    from torch import Tensor


def weighted(activations: Tensor, weights: Tensor) -> Tensor:
    """sum_k w_k A_k: (B,K,h,w) and weights (B,K,1,1) or (B,K,h,w) -> (B,1,h,w)."""
    return (weights * activations).sum(1, keepdim=True)


def fused(maps: list[Tensor], how: Literal["mean", "max"]) -> Tensor:
    """Maps (B,1,h,w) of several layers as one on the finest grid; a single map is left as it is.

    Each is first divided by its own largest absolute value: layers differ in scale by orders of magnitude, and the
    largest would decide alone.
    """
    if len(maps) == 1:
        return maps[0]
    finest = max((m.shape[-2:] for m in maps), key=lambda size: size.numel())
    ready = [resize(_to_unit(m), (finest[0], finest[1])) for m in maps]
    return torch.stack(ready).mean(0) if how == "mean" else reduce(torch.maximum, ready)


def _to_unit(maps: Tensor) -> Tensor:
    largest = maps.abs().amax((1, 2, 3), keepdim=True)
    return maps / torch.where(largest > 0, largest, torch.ones_like(largest))


@dataclass(frozen=True)
class Cam(Explainer):
    """A class activation map: one map a layer, cut at zero if asked, several layers fused."""

    gradients: ClassVar[bool] = True
    """Whether the layers' gradients are needed, and with them a backward pass."""

    layer: tuple[str, ...] = param(
        ("last",), doc="module path, or last: the deepest layer with a grid; several are fused"
    )
    relu: bool = param(True, doc="keep only support; false keeps the sign")
    fuse: Literal["mean", "max"] = param("mean", doc="how several layers become one map")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward pass; with gradients, a backward pass that stops at the first layer."""
        return (Ask("layers", layers=self.layer, grads=self.gradients, backwards=int(self.gradients)),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """(B,1,h,w) on the (finest) layer's own grid."""
        found = probe.layers(inputs, targets, self.layer, grads=self.gradients)
        maps = [self.cam(probe, inputs, targets, name, *found[name]) for name in self.layer]
        return fused([m.clamp(min=0) if self.relu else m for m in maps], self.fuse)

    @abstractmethod
    def cam(
        self, probe: Probe, inputs: Tensor, targets: Tensor, layer: str, activations: Tensor, gradients: Tensor
    ) -> Tensor:
        """The signed map (B,1,h,w) of one layer from its activations and gradients, (B,K,h,w) each.

        Without gradients the activations stand in both places.
        """
