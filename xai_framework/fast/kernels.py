"""The layers of a private copy put so that PyTorch computes them by its fastest kernels, on processors."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrize


def shared(model: nn.Module) -> dict[int, nn.Parameter]:
    """Weights that a copy need not have for itself, since its layers keep them in an order of their own; by id, as
    :func:`copy.deepcopy` takes what it shall not copy.
    """
    weights = (m.weight for m in model.modules() if _packable(m) and isinstance(m, nn.Linear))
    return {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in weights}


def tune(model: nn.Module) -> bool:
    """Choose kernels for the layers of ``model``, which is nobody else's; whether there was anything to choose."""
    found = False
    for module in model.modules():
        if _packable(module):
            module.__class__ = Packed
            found = True
        elif type(module) is nn.Conv2d and module.kernel_size == module.stride == (1, 1) and _on(module, torch.float32):
            # On one thread PyTorch computes a convolution of single places by a product of matrices for up to 15 rows,
            # and by oneDNN, which is twice as fast, for more or if it is dilated; of one place that changes nothing.
            module.dilation = (2, 2)
            found = True
    return found


class Packed(nn.Linear):
    """A linear layer whose weights lie as oneDNN's kernels read them: MKL's are half as fast on some processors, and
    both lay the weights out anew in every call where they are not. Its weights must stay as they are.
    """

    _ahead: Tensor | None = None
    _back: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """As the layer does."""
        if input.dtype != self.weight.dtype or input.device != self.weight.device:
            return super().forward(input)
        if not (torch.is_grad_enabled() and input.requires_grad):
            return self.ahead(input)
        result: Tensor = _Through.apply(input, self)
        return result

    def ahead(self, input: Tensor) -> Tensor:
        """(...,out) of (...,in)."""
        if self._ahead is None:
            self._ahead = _packed(self.weight)
        return _product(input, self._ahead, self.bias)

    def back(self, gradient: Tensor) -> Tensor:
        """(...,in) of (...,out): the gradient for the input."""
        if self._back is None:
            self._back = _packed(self.weight.t().contiguous())
        return _product(gradient, self._back, None)


class _Through(torch.autograd.Function):
    """A packed layer as part of a graph."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, layer: Packed) -> Tensor:  # noqa: ANN401 - as PyTorch declares it
        ctx.layer = layer
        return layer.ahead(input)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        layer: Packed = ctx.layer
        return layer.back(gradient), None


def _packable(module: nn.Module) -> bool:
    """Whether it computes what its class says, on weights that oneDNN has kernels for."""
    if type(module) is not nn.Linear or parametrize.is_parametrized(module) or "forward" in module.__dict__:
        return False
    return isinstance(module.weight, nn.Parameter) and _on(module, torch.float32, torch.bfloat16) and _works()


def _on(module: nn.Module, *types: torch.dtype) -> bool:
    weight = module.weight
    return isinstance(weight, Tensor) and weight.device.type == "cpu" and weight.dtype in types


def _packed(weight: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return found


def _product(input: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(input, packed, bias, "none", [], "")
    return found


@cache
def _works() -> bool:
    """Whether this PyTorch has these functions, which it keeps for its own compiler, and they do what they say."""
    weight, bias, rows = torch.arange(6.0).view(2, 3), torch.tensor([1.0, -2.0]), torch.tensor([[1.0, -1.0, 3.0]])
    try:
        return bool(torch.equal(_product(rows, _packed(weight), bias), torch.tensor([[6.0, 12.0]])))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
