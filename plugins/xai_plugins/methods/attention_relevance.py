"""Gradient x attention relevance. Chefer, Gur & Wolf 2021, arXiv:2103.15679, equations 5 and 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

import torch

from xai_framework.core import Ask, Call, Explainer, NotApplicable, Probe, Rng, Shape, param
from xai_plugins.methods._attention import FUNCTIONS, Attention, attentions, on_patches

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AttentionRelevance(Explainer):
    """Relevance of each patch for the class, (B,1,h,w), >= 0.

    Equations 5 and 6: R starts as the identity and each layer adds mean_heads((dS/dA * A)^+) R; the class token's row
    is shown, without the class token. Where attention is confined to windows (Swin), only the last layers count whose
    window is the whole grid, and the mean over rows is shown, as the head averages tokens.
    """

    start: int = param(0, ge=0, doc="layers in front of this one are left out")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass."""
        return (Ask("calls", backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        return probe.calls(inputs, targets, FUNCTIONS, self._reduce)

    def _reduce(self, inputs: Tensor, _gradient: Tensor, calls: Sequence[Call]) -> Tensor:
        layers = _last_whole(attentions(inputs, calls))
        if self.start >= len(layers):
            raise NotApplicable(f"start={self.start}, but only {len(layers)} layers attend over the whole grid")
        tokens = layers[0].probabilities.shape[-1]
        identity = torch.eye(tokens).to(inputs)
        relevance = identity.expand(len(inputs), tokens, tokens)
        for layer in layers[self.start :]:
            step = (layer.gradient * layer.probabilities).clamp(min=0).mean(1)
            relevance = relevance + step @ relevance
        # a token's relevance for itself, the start, is no evidence
        return on_patches(relevance - identity, inputs, layers[-1].grid)


def _last_whole(layers: Sequence[Attention]) -> Sequence[Attention]:
    """The layers at the end that attend over the whole grid. Raises NotApplicable where the very last does not."""
    tokens = layers[-1].probabilities.shape[-1]
    last = list(takewhile(lambda a: a.windows == 1 and a.probabilities.shape[-1] == tokens, reversed(layers)))
    if not last:
        raise NotApplicable("attention is confined to windows to the very end: no layer sees the whole grid")
    return last[::-1]
