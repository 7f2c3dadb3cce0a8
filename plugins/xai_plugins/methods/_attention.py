"""Attention probabilities of a network, with the score's gradient, however attention is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from xai_framework.core import Call, NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

_EXPLICIT = (F.softmax, torch.softmax, torch.Tensor.softmax)
FUNCTIONS = (F.multi_head_attention_forward, F.scaled_dot_product_attention, *_EXPLICIT, F.pad)
"""Every door that attention goes through: as one call, as scaled products, or written out with a softmax.

A grid is padded to whole windows in front of windowed attention: the call tells the grid.
"""

_MOST_EXTRA_TOKENS = 8  # more is no class token with registers


@dataclass(frozen=True)
class Attention:
    """One layer's probabilities (b,heads,L,L), and d score / d probabilities; ``windows`` of each image.

    ``grid`` is that of the tokens, h*w = windows*L, where the network tells it; such networks have no class token.
    """

    probabilities: Tensor
    gradient: Tensor
    windows: int = 1
    grid: tuple[int, int] | None = None


def attentions(inputs: Tensor, calls: Sequence[Call]) -> list[Attention]:
    """All self-attention layers in order. Raises NotApplicable where there are none."""
    found: list[Attention] = []
    pad: Call | None = None
    for call in calls:
        if call.function is F.pad:
            pad = call
        elif call.gradient is not None and (layer := _attention(call, len(inputs))) is not None:
            found.append(layer if pad is None else _without_padding(layer, pad))
            pad = None  # one layer's padding says nothing of the next
    if not found:
        raise NotApplicable("the network calls no self-attention of the form (batch, heads, tokens, tokens)")
    return found


def whole(found: Sequence[Attention], why: str) -> Sequence[Attention]:
    """The layers, if each sees the whole picture at once. Raises NotApplicable."""
    if any(a.windows != 1 for a in found):
        raise NotApplicable(f"attention is confined to windows: {why}")
    if len({a.probabilities.shape[-1] for a in found}) != 1:
        raise NotApplicable("layers attend over different numbers of tokens, which cannot be multiplied")
    return found


def on_patches(rows: Tensor, inputs: Tensor, grid: tuple[int, int] | None) -> Tensor:
    """How much each token is attended to, (b,L,L) from token to token -> (b,1,h,w) for the patches.

    The class token's row is read; a network without one averages over its tokens, and so is the mean over rows taken.
    Tokens that are no patch (class, registers, distillation) come first. Raises NotApplicable where ``grid`` is not
    known and no patch size gives one.
    """
    height, width = inputs.shape[2:]
    tokens = rows.shape[-1]
    if grid is None:
        # of all patch sizes the one that leaves the fewest tokens over: from 4 x 4 patches on no other is as near
        possible = [(height // p, width // p) for p in range(1, min(height, width) + 1)]
        near = [g for g in possible if 0 <= tokens - g[0] * g[1] <= _MOST_EXTRA_TOKENS]
        if not near:
            raise NotApplicable(f"{tokens} tokens make no grid of patches on an input of {height}x{width}")
        grid = max(near, key=lambda g: g[0] * g[1])
    extra = tokens - grid[0] * grid[1]
    read = rows[:, 0] if extra else rows.mean(1)
    return read[:, extra:].reshape(len(rows), 1, *grid)


def _attention(call: Call, batch: int) -> Attention | None:
    if call.function in _EXPLICIT:
        return _windows(call, batch)
    return _scaled(call) if call.function is F.scaled_dot_product_attention else _packed(call)


def _without_padding(layer: Attention, pad: Call) -> Attention:
    """The layer with the grid (b,h,w,C) that ``pad`` made fit its windows; padding says nothing of the picture.

    Positions of padding are dropped where one window holds the whole grid. They are filled anew in each layer, so
    nothing comes through them from one layer to the next.
    """
    before, after = _arguments(pad)["input"].shape, pad.output.shape
    tokens = layer.probabilities.shape[-1]
    if len(after) != 4 or after[0] != before[0] or after[1] * after[2] != layer.windows * tokens:
        return layer
    grid = (before[1], before[2])
    if layer.windows != 1 or after == before:
        return replace(layer, grid=grid)
    kept = torch.arange(tokens, device=pad.output.device).view(after[1], after[2])[: grid[0], : grid[1]].flatten()
    probabilities, gradient = (t[..., kept, :][..., kept] for t in (layer.probabilities, layer.gradient))
    return Attention(probabilities, gradient, grid=grid)


def _windows(call: Call, batch: int) -> Attention | None:
    """A softmax over the last of its axes is attention where it gives (b*windows,heads,L,L)."""
    probabilities, gradient = call.output, call.gradient
    if probabilities.ndim != 4 or probabilities.shape[-1] != probabilities.shape[-2] or len(probabilities) % batch:
        return None
    if gradient is None or _arguments(call).get("dim") not in (-1, 3):
        return None
    return Attention(probabilities, gradient, len(probabilities) // batch)


def _scaled(call: Call) -> Attention | None:
    """softmax(q k^T / sqrt(d) + mask) v, with (b,heads,L,d) each."""
    a = _arguments(call)
    q, k, v = a["query"], a["key"], a["value"]
    if q.ndim != 4 or q.shape != k.shape:
        return None
    scores = q @ k.transpose(-2, -1) * (a.get("scale") or 1 / sqrt(q.shape[-1]))
    mask = a.get("attn_mask")
    if a.get("is_causal"):
        mask = torch.ones_like(scores, dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return Attention(scores.softmax(-1).detach(), (call.gradient @ v.transpose(-2, -1)).detach())


def _packed(call: Call) -> Attention | None:
    """nn.MultiheadAttention: (L,b,E), with projections before and after."""
    a = _arguments(call)
    x, heads, gradient = a["query"], a["num_heads"], call.gradient
    if x.ndim != 3 or a["key"].shape != x.shape or a["in_proj_weight"] is None or gradient is None:
        return None
    if a.get("key_padding_mask") is not None or a.get("bias_k") is not None or a.get("add_zero_attn"):
        return None  # of text models, not of pictures
    length, batch, width = x.shape
    weights, biases = a["in_proj_weight"].chunk(3), (None,) * 3
    if a["in_proj_bias"] is not None:
        biases = a["in_proj_bias"].chunk(3)

    def split(t: Tensor) -> Tensor:
        return t.reshape(length, batch, heads, width // heads).permute(1, 2, 0, 3)

    q, k, v = (split(F.linear(t, w, b)) for t, w, b in zip((x, a["key"], a["value"]), weights, biases, strict=True))
    mask = a.get("attn_mask")
    if mask is not None and mask.ndim == 3:
        mask = mask.view(batch, heads, length, length)
    scores = q @ k.transpose(-2, -1) / sqrt(width // heads)
    if mask is not None:
        # True shuts a position out here, and lets it in for scaled products
        scores = scores.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    given = split(gradient @ a["out_proj_weight"])  # d score / d what each head gives
    return Attention(scores.softmax(-1).detach(), (given @ v.transpose(-2, -1)).detach())


def _arguments(call: Call) -> dict[str, Any]:
    """The call's arguments by name."""
    names = _NAMES.get(call.function) or tuple(inspect.signature(call.function).parameters)
    return dict(zip(names, call.args, strict=False)) | call.kwargs


_NAMES: dict[Callable[..., Any], tuple[str, ...]] = {  # builtins have no signature
    F.scaled_dot_product_attention: ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"),
    torch.softmax: ("input", "dim", "dtype"),
    torch.Tensor.softmax: ("input", "dim", "dtype"),
    F.pad: ("input", "pad", "mode", "value"),
}
