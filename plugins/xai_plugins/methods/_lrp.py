"""Layer-wise relevance propagation as a backward rule: what every function of a network does to relevance."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_framework.core import NotApplicable
from xai_plugins.methods._lrp_terms import (
    LrpRule,
    epsilon_rule,
    normalised_through,
    positive_rule,
    relevance_through,
    stabilised,
)
from xai_plugins.methods._rules import RELUS, RELUS_IN_PLACE

if TYPE_CHECKING:
    from xai_plugins.methods._rules import Function

# Relevance keeps its place or goes to the winner: what flows back is the plain gradient.
PASSES: frozenset[Function] = frozenset(
    {
        *(F.max_pool2d, F.adaptive_max_pool2d, torch.max_pool2d, F.dropout, F.dropout2d, torch.dropout, F.pad),
        *(torch.cat, torch.stack, torch.flatten, Tensor.flatten, torch.reshape, Tensor.reshape, Tensor.view),
        *(torch.transpose, Tensor.transpose, torch.permute, Tensor.permute, torch.squeeze, Tensor.squeeze),
        *(torch.unsqueeze, Tensor.unsqueeze, Tensor.__getitem__, torch.chunk, Tensor.chunk, torch.split, Tensor.split),
        *(torch.roll, torch.flip, Tensor.flip, Tensor.to, Tensor.float, Tensor.double, Tensor.contiguous),
    }
)

_WITHOUT_WEIGHTS = (
    *(F.avg_pool2d, F.adaptive_avg_pool2d, F.interpolate),
    *(torch.mean, Tensor.mean, torch.sum, Tensor.sum),
)
_SUMS = (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)
_SUMS_IN_PLACE = (Tensor.add_, Tensor.__iadd__)
_DIFFERENCES = (torch.sub, Tensor.sub, Tensor.__sub__)
_DIFFERENCES_IN_PLACE = (Tensor.sub_, Tensor.__isub__)
_QUOTIENTS = (torch.div, Tensor.div, Tensor.__truediv__)
_QUOTIENTS_IN_PLACE = (Tensor.div_, Tensor.__itruediv__)
_FACTORS = (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, *_QUOTIENTS)
_FACTORS_IN_PLACE = (Tensor.mul_, Tensor.__imul__, *_QUOTIENTS_IN_PLACE)


@dataclass(frozen=True)
class Rules:
    """Which rule applies where; ``first`` is that of the first layer with weights.

    ``excitatory``: in sums and pooling too, relevance goes to positive contributions alone, and biases get none.
    """

    conv: LrpRule
    dense: LrpRule
    first: LrpRule
    epsilon: float  # of dense layers
    stabiliser: float = 1e-6  # of all others
    excitatory: bool = False


@dataclass(frozen=True)
class _Layer:
    """How an output came about; a batch norm behind it is folded into its weights.

    ``output`` is held so that its id stays its own; ``version`` tells whether it was overwritten since.
    """

    output: Tensor
    version: int
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    call: Any
    rule: LrpRule
    epsilon: float


@dataclass
class Propagation:
    """One pass: which layers ran so far."""

    rules: Rules
    _layers: dict[int, _Layer] = field(default_factory=dict)

    def table(self) -> Mapping[Function, Function]:
        """Function -> what takes its place."""
        table: dict[Function, Function] = {
            F.conv2d: self._conv2d,
            F.linear: self._linear,
            F.batch_norm: self._batch_norm,
            F.hardtanh: _clamp,
            F.hardtanh_: partial(_clamp, inplace=True),
            F.relu6: lambda input, inplace=False: _relu(input, inplace, 6.0),
        }
        table |= {f: lambda input, inplace=False: _relu(input, inplace) for f in RELUS}
        table |= {f: lambda input: _relu(input, True) for f in RELUS_IN_PLACE}
        table |= {f: partial(self._pool, f) for f in _WITHOUT_WEIGHTS}
        for inplace, sums, differences, factors in (
            (False, _SUMS, _DIFFERENCES, _FACTORS),
            (True, _SUMS_IN_PLACE, _DIFFERENCES_IN_PLACE, _FACTORS_IN_PLACE),
        ):
            table |= {f: partial(self._add, 1, inplace) for f in sums}
            table |= {f: partial(self._add, -1, inplace) for f in differences}
            table |= {f: partial(_times, f, inplace) for f in factors}
        return table

    def _conv2d(self, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        return self._weighted(
            input, weight, bias, lambda x, w, b: F.conv2d(x, w, b, *args, **kwargs), self.rules.conv, dense=False
        )

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return self._weighted(input, weight, bias, F.linear, self.rules.dense, dense=True)

    def _weighted(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, call: Callable[..., Tensor], rule: LrpRule, *, dense: bool
    ) -> Tensor:
        rule = rule if self._layers else self.rules.first
        epsilon = self.rules.epsilon if dense and self._layers else self.rules.stabiliser
        output = relevance_through(x, call, weight, bias, rule, epsilon)
        self._layers[id(output)] = _Layer(output, output._version, x, weight, bias, call, rule, epsilon)
        return output

    def _batch_norm(self, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Folded into the layer in front of it; without one, relevance passes: it moves nothing between positions."""
        given = inspect.signature(F.batch_norm).bind(*args, **kwargs)
        given.apply_defaults()
        a = given.arguments
        if a["running_mean"] is None or a["running_var"] is None:
            raise NotApplicable("a batch norm without running statistics mixes the images of a batch")
        scale = torch.rsqrt(a["running_var"] + a["eps"])
        scale = scale if a["weight"] is None else scale * a["weight"]
        shift = -a["running_mean"] * scale
        shift = shift if a["bias"] is None else shift + a["bias"]
        layer = self._layers.get(id(a["input"]))
        if layer is None or layer.version != layer.output._version:
            return _through(a["input"], F.batch_norm(*args, **kwargs))
        weight = layer.weight * scale.view(-1, *(1,) * (layer.weight.ndim - 1))
        bias = shift if layer.bias is None else layer.bias * scale + shift
        return relevance_through(layer.x, layer.call, weight, bias, layer.rule, layer.epsilon)

    def _pool(self, function: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        rule = positive_rule if self.rules.excitatory else epsilon_rule
        return normalised_through(input, lambda x: function(x, *args, **kwargs), self.rules.stabiliser, rule)

    def _add(self, sign: float, inplace: bool, a: Any, b: Any, *, alpha: float = 1, out: None = None) -> Tensor:  # noqa: ANN401
        """Each summand of a + sign * alpha * b gets its share. A constant behind a layer is a bias and keeps its own;
        in front of the first one it prepares the input, and relevance passes.
        """
        like = a if isinstance(a, Tensor) else b
        a, b = (v if isinstance(v, Tensor) else like.new_tensor(v) for v in (a, b))
        if not (a.requires_grad or b.requires_grad):
            total = a + b * (sign * alpha)
        elif not (a.requires_grad and b.requires_grad) and (self.rules.excitatory or not self._layers):
            x = a if a.requires_grad else b
            total = _through(x, _same_shape(x, a.detach() + b.detach() * (sign * alpha)))
        else:
            total = _Share.apply(a, b, sign * alpha, self.rules)
        result: Tensor = a.copy_(total) if inplace else total
        return result


class _Share(torch.autograd.Function):
    """a + factor * b; relevance in proportion to what each contributes."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, factor: float, rules: Rules) -> Tensor:  # noqa: ANN401
        # copies: a sum in place overwrites one of them
        ctx.save_for_backward(a.clone(), b * factor)
        ctx.rules = rules
        return a + b * factor

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        a, b = ctx.saved_tensors
        if ctx.rules.excitatory:
            a, b = a.clamp(min=0), b.clamp(min=0)
        share = relevance / stabilised(a + b, ctx.rules.stabiliser)
        return (a * share).sum_to_size(a.shape), (b * share).sum_to_size(b.shape), None, None


class _Through(torch.autograd.Function):
    """Another value forward, relevance unchanged backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:  # noqa: ANN401
        return y.clone()

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return relevance, None


def _through(x: Tensor, y: Tensor) -> Tensor:
    result: Tensor = _Through.apply(x, y.detach())
    return result


def _relu(input: Tensor, inplace: bool = False, high: float | None = None) -> Tensor:
    y = _through(input, input.detach().clamp(0, high))
    return input.copy_(y) if inplace else y


def _clamp(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    if min_val != 0:
        raise NotApplicable("relevance propagation knows rectifiers; the network calls hardtanh from below 0")
    return _relu(input, inplace, max_val)


def _times(function: Function, inplace: bool, a: Any, b: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
    """A constant factor moves no relevance; a product of two activations has no rule, nor has division by one."""
    name = getattr(function, "__name__", function)
    x, other = (a, b) if isinstance(a, Tensor) and a.requires_grad else (b, a)
    if not (isinstance(x, Tensor) and x.requires_grad):
        plain_product: Tensor = function(a, b, **kwargs)
        return plain_product
    if isinstance(other, Tensor) and other.requires_grad:
        raise NotApplicable(f"relevance propagation has no rule for {name} of two activations")
    if x is b and function in (*_QUOTIENTS, *_QUOTIENTS_IN_PLACE):
        raise NotApplicable(f"relevance propagation has no rule for division by an activation ({name})")
    with torch.no_grad():
        plain = (v.clone() if isinstance(v, Tensor) and inplace else v for v in (a, b))
        y = _same_shape(x, function(*plain, **kwargs))
    through = _through(x, y) * ((y != 0) | (x == 0))  # nothing stands behind what is multiplied by 0
    result: Tensor = a.copy_(through) if inplace else through
    return result


def _same_shape(x: Tensor, y: Tensor) -> Tensor:
    if y.shape != x.shape:
        raise NotApplicable("relevance propagation has no rule for a broadcast of an activation")
    return y
