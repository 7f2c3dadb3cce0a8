"""FullGrad. Srinivas & Fleuret 2019, arXiv:1905.00780, equations 3 and 8."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from xai_framework.core import Ask, Call, Explainer, NotApplicable, Probe, Rng, Shape, param, resize

if TYPE_CHECKING:
    from torch import Tensor

_WITH_BIAS = (F.conv2d, F.linear, F.batch_norm)
_NOT_PIECEWISE_LINEAR = (
    *(F.gelu, F.silu, F.hardswish, F.hardsigmoid, F.sigmoid, torch.sigmoid, F.tanh, torch.tanh, F.elu, F.softplus),
    *(F.softmax, torch.softmax, F.layer_norm, F.group_norm, F.instance_norm),
    *(F.scaled_dot_product_attention, F.multi_head_attention_forward),
)


@dataclass(frozen=True)
class FullGrad(Explainer):
    """The gradient's share of the score and every bias's, on the input grid, (B,1,H,W).

    Equation 8: |x * g| and, for each layer, |b * dS/db|, each scaled to [0,1] per image, resampled to the input and
    summed over channels and layers: >= 0. With ``complete``, equation 3: signed, nothing scaled, biases of dense layers
    spread evenly; the map sums to the score. A batch norm is a layer of its own. Only piecewise linear networks have
    this decomposition; others are refused.
    """

    complete: bool = param(False, doc="signed and unscaled, so that the map sums to the score")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass."""
        return (Ask("calls", backwards=1),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One question to the probe."""
        return probe.calls(inputs, targets, (*_WITH_BIAS, *_NOT_PIECEWISE_LINEAR), self._reduce)

    def _reduce(self, inputs: Tensor, gradient: Tensor, calls: Sequence[Call]) -> Tensor:
        """(b,C,H,W), its gradient and the layers' calls -> (b,1,H,W)."""
        total = self._part(inputs * gradient, inputs)
        for call in calls:
            if call.function in _NOT_PIECEWISE_LINEAR:
                name = getattr(call.function, "__name__", str(call.function))
                raise NotApplicable(f"the network is not piecewise linear: it calls {name}")
            bias = _bias(call)
            if bias is None or call.gradient is None:
                continue
            if call.gradient.ndim == 4:
                total = total + self._part(call.gradient * bias[:, None, None], inputs)
            elif self.complete:
                share = (call.gradient * bias).flatten(1).sum(1) / inputs[0, 0].numel()
                total = total + share[:, None, None, None]
        return total

    def _part(self, values: Tensor, inputs: Tensor) -> Tensor:
        """One layer's values (b,K,h,w) on the input grid, (b,1,H,W)."""
        height, width = inputs.shape[2:]
        if not self.complete:
            return resize(_to_unit(values.abs()).sum(1, keepdim=True), (height, width))
        small = values.sum(1, keepdim=True)
        large = resize(small, (height, width))
        # resampling keeps no sum: what it adds or loses is given back evenly
        missing = small.sum((2, 3), keepdim=True) - large.sum((2, 3), keepdim=True)
        return large + missing / (height * width)


def _to_unit(values: Tensor) -> Tensor:
    """To [0,1] per image; what is flat becomes 0."""
    low = values.amin((1, 2, 3), keepdim=True)
    spread = values.amax((1, 2, 3), keepdim=True) - low
    return (values - low) / torch.where(spread > 0, spread, torch.ones_like(spread))


def _bias(call: Call) -> Tensor | None:
    """What the layer adds to every position, (K,)."""
    if call.function is not F.batch_norm:
        bias: Tensor | None = call.args[2] if len(call.args) > 2 else call.kwargs.get("bias")
        return bias
    given: dict[str, Any] = inspect.signature(F.batch_norm).bind(*call.args, **call.kwargs).arguments
    scale = torch.rsqrt(given["running_var"] + given.get("eps", 1e-5))
    if given.get("weight") is not None:
        scale = scale * given["weight"]
    shift = -given["running_mean"] * scale
    total: Tensor = shift if given.get("bias") is None else shift + given["bias"]
    return total
