"""Attention rollout. Abnar & Zuidema 2020, arXiv:2005.00928, equation 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from xai_framework.core import Ask, Call, Explainer, Probe, Rng, Shape, param
from xai_plugins.methods._attention import FUNCTIONS, attentions, on_patches, whole

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AttentionRollout(Explainer):
    """Attention followed through all layers back to the patches, (B,1,h,w), >= 0, whatever the class.

    Equation 1: the product over layers of (1 - r) A + r I, r the residual connection's share, rows summing to 1; the
    class token's row is shown. Networks whose attention is confined to windows are refused: attention over shifted
    windows is no matrix over the whole picture.
    """

    class_specific: ClassVar[bool] = False

    heads: Literal["mean", "max", "min"] = param("mean", doc="how heads become one")
    residual: float = param(0.5, ge=0, lt=1, doc="share of the residual connection")
    discard: float = param(0.0, ge=0, lt=1, doc="share of the smallest attentions set to 0 in each layer")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward pass (and a backward pass that comes with listening)."""
        return (Ask("calls", backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        return probe.calls(inputs, targets, FUNCTIONS, self._reduce)

    def _reduce(self, inputs: Tensor, _gradient: Tensor, calls: Sequence[Call]) -> Tensor:
        layers = whole(attentions(inputs, calls), "rollout over shifted windows has no meaning")
        total: Tensor | None = None
        for layer in layers:
            fused = getattr(layer.probabilities, {"mean": "mean", "max": "amax", "min": "amin"}[self.heads])(1)
            fused = self._without_smallest(fused)
            step = (1 - self.residual) * fused + self.residual * torch.eye(fused.shape[-1]).to(fused)
            rows = step.sum(-1, keepdim=True)
            step = step / torch.where(rows > 0, rows, torch.ones_like(rows))
            total = step if total is None else step @ total
        return on_patches(total, inputs, layers[-1].grid)  # type: ignore[arg-type] # there is at least one layer

    def _without_smallest(self, attention: Tensor) -> Tensor:
        flat = attention.flatten(1)
        count = int(self.discard * flat.shape[1])
        if not count:
            return attention
        smallest = flat.topk(count, 1, largest=False).indices
        return flat.scatter(1, smallest, 0).view_as(attention)
