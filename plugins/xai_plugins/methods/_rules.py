"""Backward rules of rectifiers: what the gradient becomes on its way back through a ReLU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_framework.core import PLAIN, NotApplicable, Rule

RuleName = Literal["plain", "guided", "deconvnet"]

Function = Callable[..., Any]

Backward = Callable[[Tensor, Tensor], Tensor]
"""(gradient, where the rectifier lets its input pass) -> gradient."""

RELUS = (F.relu, torch.relu, Tensor.relu)
RELUS_IN_PLACE = (F.relu_, torch.relu_, Tensor.relu_)

# Linear or piecewise linear maps: what flows back through them is what the plain backward pass gives.
PIECEWISE_LINEAR: frozenset[Function] = frozenset(
    {
        *(F.conv1d, F.conv2d, F.conv3d, F.conv_transpose2d, F.linear, F.batch_norm, F.pad, F.interpolate, F.unfold),
        *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.dropout, F.dropout2d),
        *(torch.max_pool2d, torch.adaptive_avg_pool1d, torch.dropout, torch.batch_norm),
        *(torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__),
        *(torch.sub, Tensor.sub, Tensor.sub_, Tensor.__sub__, Tensor.__isub__, Tensor.__rsub__, Tensor.neg),
        # products of two activations come with gates, whose non-linearity is met first
        *(torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__imul__, Tensor.__rmul__),
        *(torch.div, Tensor.div, Tensor.div_, Tensor.__truediv__, Tensor.__itruediv__),
        *(torch.mean, Tensor.mean, torch.sum, Tensor.sum, torch.cat, torch.stack, torch.flatten, Tensor.flatten),
        *(torch.reshape, Tensor.reshape, Tensor.view, torch.transpose, Tensor.transpose, torch.permute, Tensor.permute),
        *(torch.squeeze, Tensor.squeeze, torch.unsqueeze, Tensor.unsqueeze, Tensor.expand, Tensor.__getitem__),
        *(torch.chunk, Tensor.chunk, torch.split, Tensor.split, torch.roll, torch.flip, Tensor.flip),
        *(Tensor.to, Tensor.float, Tensor.double, Tensor.contiguous),
    }
)


class _Rectified(torch.autograd.Function):
    """min(max(x, 0), ceiling) forward, a rule of its own backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float, backward: Backward) -> Tensor:  # noqa: ANN401 - autograd's own
        y = x.clamp(0, ceiling)
        # a mask, not x: a network that works in place overwrites x
        ctx.save_for_backward((y > 0) & (y < ceiling))
        ctx.rule = backward
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (passing,) = ctx.saved_tensors
        return ctx.rule(gradient, passing), None, None


def _rectifiers(rule: Backward) -> Mapping[Function, Function]:
    """Every way a network can call a rectifier, with this backward rule."""

    def rectify(x: Tensor, ceiling: float, inplace: bool) -> Tensor:
        y: Tensor = _Rectified.apply(x, ceiling, rule)
        # the network may go on with x instead of what an operation in place returns
        return x.copy_(y) if inplace else y

    def relu(input: Tensor, inplace: bool = False) -> Tensor:
        return rectify(input, inf, inplace)

    def relu6(input: Tensor, inplace: bool = False) -> Tensor:
        return rectify(input, 6.0, inplace)

    def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
        if min_val != 0:
            raise NotApplicable("hardtanh from below 0 is no rectifier, and the rule knows rectifiers only")
        return rectify(input, max_val, inplace)

    table: dict[Function, Function] = {f: relu for f in RELUS}
    table |= {f: partial(relu, inplace=True) for f in RELUS_IN_PLACE}
    return table | {F.relu6: relu6, F.hardtanh: hardtanh, F.hardtanh_: partial(hardtanh, inplace=True)}


def _guided(gradient: Tensor, passing: Tensor) -> Tensor:
    """Springenberg et al. 2014, equation 4: positive gradients where the input was positive."""
    return gradient.clamp(min=0) * passing


def _deconvnet(gradient: Tensor, passing: Tensor) -> Tensor:
    """Zeiler & Fergus 2014: positive gradients, wherever the input was."""
    return gradient.clamp(min=0)


GUIDED = Rule("guided", make=partial(_rectifiers, _guided), passes=PIECEWISE_LINEAR)
DECONVNET = Rule("deconvnet", make=partial(_rectifiers, _deconvnet), passes=PIECEWISE_LINEAR)

_RULES = {"plain": PLAIN, "guided": GUIDED, "deconvnet": DECONVNET}


def rule_of(name: RuleName) -> Rule:
    """The rule of that name."""
    return _RULES[name]
