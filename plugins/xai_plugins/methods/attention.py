"""Raw attention, the usual baseline of attention methods. Dosovitskiy et al. 2020, arXiv:2010.11929, section 4.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import Ask, Call, Explainer, NotApplicable, Probe, Rng, Shape, param
from xai_plugins.methods._attention import FUNCTIONS, attentions, on_patches

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RawAttention(Explainer):
    """What the class token attends to in one layer, mean over heads, (B,1,h,w), >= 0, whatever the class.

    Equation: A_l = mean_h softmax(q k^T / sqrt(d)), its class token's row (the mean over rows where there is none).
    """

    class_specific: ClassVar[bool] = False

    index: int = param(-1, ge=-1000, le=1000, doc="which attention layer, from 0; negative from the end")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward pass (and a backward pass that comes with listening)."""
        return (Ask("calls", backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        return probe.calls(inputs, targets, FUNCTIONS, self._reduce)

    def _reduce(self, inputs: Tensor, _gradient: Tensor, calls: Sequence[Call]) -> Tensor:
        layers = attentions(inputs, calls)
        if not -len(layers) <= self.index < len(layers):
            raise NotApplicable(f"index={self.index}, but the network has {len(layers)} attention layers")
        layer = layers[self.index]
        if layer.windows != 1:
            raise NotApplicable("this layer's attention is confined to windows, not over the whole picture")
        return on_patches(layer.probabilities.mean(1), inputs, layer.grid)
