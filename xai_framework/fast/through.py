"""Layers with a way back of their own, as part of a graph."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Layer(Protocol):
    """Weights get no gradients. What ``back`` computes can be differentiated in its turn."""

    def ahead(self, input: Tensor) -> Tensor:
        """Outputs."""

    def back(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """The gradient for an input of ``shape`` from the one for the outputs."""


def expected(input: Tensor, weight: Tensor) -> bool:
    """Whether ``input`` is what kernels are chosen for: of the weight's type, not of one that autocast chooses, and no
    part of a transform such as ``torch.vmap``, in which a tensor does not tell whether it has a graph.
    """
    same = input.dtype == weight.dtype and input.device == weight.device
    transformed = torch._C._are_functorch_transforms_active()
    return same and not transformed and not torch.is_autocast_enabled(weight.device.type)


def through(layer: Layer, input: Tensor) -> Tensor:
    """What the layer gives, in a graph where there is one."""
    if not (torch.is_grad_enabled() and input.requires_grad):
        return layer.ahead(input)
    result: Tensor = _Through.apply(input, layer)
    return result


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, layer: Layer) -> Tensor:  # noqa: ANN401 - as PyTorch declares it
        ctx.layer, ctx.shape = layer, input.shape
        return layer.ahead(input)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return ctx.layer.back(gradient, ctx.shape), None
