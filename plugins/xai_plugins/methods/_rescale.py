"""DeepLIFT's rescale rule as a backward rule, on batches that hold each input followed by its baseline.

Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685, section 3.5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_framework.core import NotApplicable, Rule
from xai_plugins.methods._rules import PIECEWISE_LINEAR, RELUS, RELUS_IN_PLACE

if TYPE_CHECKING:
    from xai_plugins.methods._rules import Function

_TOO_CLOSE = 1e-10
"""Below this difference of inputs the multiplier is the derivative, the limit of the quotient."""

_ELEMENTWISE = (
    *(F.hardtanh, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.softplus, F.gelu, F.silu, F.mish),
    *(F.hardswish, F.hardsigmoid, F.sigmoid, torch.sigmoid, Tensor.sigmoid, F.tanh, torch.tanh, Tensor.tanh),
    *(torch.exp, Tensor.exp, torch.square, Tensor.square),
)
_QUOTIENTS = (torch.div, Tensor.div, Tensor.div_, Tensor.__truediv__, Tensor.__itruediv__)
_PRODUCTS: frozenset[Function] = frozenset(
    {
        *(torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__imul__, Tensor.__rmul__),
        *_QUOTIENTS,
    }
)
_PASSES = (
    PIECEWISE_LINEAR
    - _PRODUCTS
    - {F.batch_norm, torch.batch_norm, F.max_pool2d, F.adaptive_max_pool2d, torch.max_pool2d}
)


class _Rescaled(torch.autograd.Function):
    """An elementwise function with the quotient of differences in place of its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ANN401 - autograd's own
        y = function(x)
        ctx.save_for_backward(x.clone(), y.clone())  # a network that works in place overwrites both
        ctx.function = function
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        x, y = ctx.saved_tensors
        with torch.enable_grad():
            leaf = x[0::2].detach().requires_grad_()
            (slope,) = torch.autograd.grad(ctx.function(leaf).sum(), leaf)
        dx, dy = x[0::2] - x[1::2], y[0::2] - y[1::2]
        far = dx.abs() > _TOO_CLOSE
        multiplier = torch.where(far, dy / torch.where(far, dx, torch.ones_like(dx)), slope)
        found = torch.zeros_like(gradient)
        found[0::2] = gradient[0::2] * multiplier
        return found, None


class _RescaledMaxPool(torch.autograd.Function):
    """Max pooling whose contributions sum to the difference of its outputs.

    With both winners' places i (input) and j (baseline) and m the larger of both maxima, place i is given m - y' and
    place j is given y - m: neither is nonzero where input and baseline agree.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:  # noqa: ANN401
        y, places = pool(x)
        ctx.save_for_backward(x.clone(), y.clone(), places)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        x, y, places = ctx.saved_tensors
        g, larger = gradient[0::2], torch.maximum(y[0::2], y[1::2])

        def put(values: Tensor, where: Tensor) -> Tensor:
            blank = torch.zeros_like(x[0::2]).flatten(2)  # windows may overlap: places are added up
            return blank.scatter_add(2, where.flatten(2), values.flatten(2)).view_as(x[0::2])

        given = put(g * (larger - y[1::2]), places[0::2]) + put(g * (y[0::2] - larger), places[1::2])
        dx = x[0::2] - x[1::2]
        far = dx.abs() > _TOO_CLOSE
        found = torch.zeros_like(x)
        found[0::2] = torch.where(far, given / torch.where(far, dx, torch.ones_like(dx)), put(g, places[0::2]))
        return found, None


def _table() -> Mapping[Function, Function]:
    table: dict[Function, Function] = {f: _relu for f in RELUS}
    table |= {f: partial(_relu, inplace=True) for f in RELUS_IN_PLACE}
    table |= {f: partial(_elementwise, f) for f in _ELEMENTWISE}
    table |= {f: partial(_product, f) for f in _PRODUCTS}
    return table | {F.max_pool2d: _max_pool2d, F.batch_norm: _batch_norm}


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    y: Tensor = _Rescaled.apply(input, torch.relu)
    return input.copy_(y) if inplace else y


def _elementwise(function: Function, input: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:  # noqa: ANN401
    if args and isinstance(args[-1], bool):  # inplace comes last wherever it is given by position
        inplace, args = args[-1], args[:-1]
    y: Tensor = _Rescaled.apply(input, lambda x: function(x, *args, **kwargs))
    return input.copy_(y) if inplace else y


def _max_pool2d(input: Tensor, *args: Any, return_indices: bool = False, **kwargs: Any) -> Tensor:  # noqa: ANN401
    y: Tensor = _RescaledMaxPool.apply(input, lambda x: F.max_pool2d(x, *args, return_indices=True, **kwargs))
    return y


def _product(function: Function, a: Any, b: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
    if all(isinstance(v, Tensor) and v.requires_grad for v in (a, b)):
        name = getattr(function, "__name__", str(function))
        raise NotApplicable(
            f"the rescale rule knows functions of one input; the network calls {name} of two activations"
        )
    if function in _QUOTIENTS and isinstance(b, Tensor) and b.requires_grad:
        raise NotApplicable("the rescale rule has no division by an activation")
    result: Tensor = function(a, b, **kwargs)
    return result


def _batch_norm(input: Tensor, running_mean: Any, running_var: Any, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
    if running_mean is None or running_var is None:
        raise NotApplicable("a batch norm without running statistics mixes inputs with baselines")
    return F.batch_norm(input, running_mean, running_var, *args, **kwargs)


RESCALE = Rule("deeplift rescale", make=_table, passes=_PASSES, rows=2)
