"""Attention probabilities of a network, with the score's gradient, however attention is called."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from xai_framework.core import Call, NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

_EXPLICIT = (F.softmax, torch.softmax, torch.Tensor.softmax)
FUNCTIONS = (F.multi_head_attention_forward, F.scaled_dot_product_attention, *_EXPLICIT)
"""Every door that attention goes through: as one call, as scaled products, or written out with a softmax."""


@dataclass(frozen=True)
class Attention:
    """One layer's probabilities (b,heads,L,L), and d score / d probabilities; ``windows`` of each image."""

    probabilities: Tensor
    gradient: Tensor
    windows: int = 1


def attentions(inputs: Tensor, calls: Sequence[Call]) -> list[Attention]:
    """All self-attention layers in order. Raises NotApplicable where there are none."""
    found = [a for call in calls if (a := _attention(call, len(inputs))) is not None]
    if not found:
        raise NotApplicable("the network calls no self-attention")
    return found


def whole(found: Sequence[Attention], why: str) -> Sequence[Attention]:
    """The layers, if each sees the whole picture at once. Raises NotApplicable."""
    if any(a.windows != 1 for a in found):
        raise NotApplicable(f"attention is confined to windows: {why}")
    if len({a.probabilities.shape[-1] for a in found}) != 1:
        raise NotApplicable("layers attend over different numbers of tokens, which cannot be multiplied")
    return found


def on_patches(rows: Tensor, inputs: Tensor) -> Tensor:
    """How much each token is attended to, (b,L,L) from token to token -> (b,1,h,w) for the patches.

    The class token's row is read; a network without one averages over its tokens, and so is the mean over rows taken.
    Tokens that are no patch (class, registers, distillation) come first.
    """
    height, width = inputs.shape[2:]
    tokens = rows.shape[-1]
    fitting = [(height // p, width // p) for p in range(1, height + 1) if height % p == 0 and width % p == 0]
    h, w = max((g for g in fitting if g[0] * g[1] <= tokens), key=lambda g: g[0] * g[1])
    extra = tokens - h * w
    read = rows[:, 0] if extra else rows.mean(1)
    return read[:, extra:].reshape(len(rows), 1, h, w)


def _attention(call: Call, batch: int) -> Attention | None:
    if call.gradient is None:
        return None
    if call.function in _EXPLICIT:
        return _windows(call.output, call.gradient, batch)
    if call.function is F.scaled_dot_product_attention:
        return _scaled(call)
    return _packed(call)


def _windows(probabilities: Tensor, gradient: Tensor, batch: int) -> Attention | None:
    """A softmax is attention where it gives (b*windows,heads,L,L)."""
    if probabilities.ndim != 4 or probabilities.shape[-1] != probabilities.shape[-2] or len(probabilities) % batch:
        return None
    return Attention(probabilities, gradient, len(probabilities) // batch)


def _scaled(call: Call) -> Attention | None:
    """softmax(q k^T / sqrt(d) + mask) v, with (b,heads,L,d) each."""
    a = _arguments(call)
    q, k, v = a["query"], a["key"], a["value"]
    if q.ndim != 4 or q.shape[-2] != k.shape[-2]:
        return None
    scores = q @ k.transpose(-2, -1) * (a.get("scale") or 1 / sqrt(q.shape[-1]))
    mask = a.get("attn_mask")
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return Attention(scores.softmax(-1).detach(), (call.gradient @ v.transpose(-2, -1)).detach())


def _packed(call: Call) -> Attention | None:
    """nn.MultiheadAttention: (L,b,E), with projections before and after."""
    a = _arguments(call)
    x, heads, gradient = a["query"], a["num_heads"], call.gradient
    if x.ndim != 3 or a["key"].shape != x.shape or a["in_proj_weight"] is None or gradient is None:
        return None
    length, batch, width = x.shape
    weights, biases = a["in_proj_weight"].chunk(3), (None,) * 3
    if a["in_proj_bias"] is not None:
        biases = a["in_proj_bias"].chunk(3)

    def split(t: Tensor) -> Tensor:
        return t.reshape(length, batch, heads, width // heads).permute(1, 2, 0, 3)

    q, k, v = (split(F.linear(t, w, b)) for t, w, b in zip((x, a["key"], a["value"]), weights, biases, strict=True))
    scores = q @ k.transpose(-2, -1) / sqrt(width // heads)
    if a.get("attn_mask") is not None:
        scores = scores + a["attn_mask"]
    given = split(gradient @ a["out_proj_weight"])  # d score / d what each head gives
    return Attention(scores.softmax(-1).detach(), (given @ v.transpose(-2, -1)).detach())


def _arguments(call: Call) -> dict[str, Any]:
    """The call's arguments by name."""
    names = (
        ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
        if call.function is F.scaled_dot_product_attention  # a builtin without a signature
        else tuple(inspect.signature(call.function).parameters)
    )
    return dict(zip(names, call.args, strict=False)) | call.kwargs
