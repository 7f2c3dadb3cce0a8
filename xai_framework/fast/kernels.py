"""The layers of a private copy put so that PyTorch computes them by its fastest kernels, on processors with oneDNN."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from xai_framework.fast.packed import Packed, packs
from xai_framework.fast.stem import Stem, is_stem
from xai_framework.fast.usual import usual


def shared(model: nn.Module) -> dict[int, Any]:
    """Weights that a copy need not have for itself, since its layers keep them in orders of their own, one ahead and,
    once there are gradients, one back; by id, as :func:`copy.deepcopy` takes what it shall not copy.
    """
    weights = (m.weight for m in model.modules() if isinstance(m, nn.Linear) and _packable(m))
    return {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in weights}


def tune(model: nn.Module) -> bool:
    """Choose kernels for the layers of ``model``, which is nobody else's; whether there was anything to choose."""
    found = False
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return found
    for module in model.modules():
        if _packable(module):
            module.__class__ = Packed
        elif _is(module, nn.Conv2d, torch.float32) and is_stem(module):
            module.__class__ = Stem
        elif _is(module, nn.Conv2d, torch.float32) and module.kernel_size == module.stride == (1, 1):
            # On one thread PyTorch computes a convolution of single places by a product of matrices for up to 15 rows,
            # and by oneDNN, which is twice as fast, for more or if it is dilated; of one place that changes nothing.
            module.dilation = (2, 2)  # type: ignore[assignment]
        else:
            continue
        found = True
    return found


def _packable(module: nn.Module) -> bool:
    if not (_is(module, nn.Linear, torch.float32, torch.bfloat16) and isinstance(module.weight, nn.Parameter)):
        return False
    return module.weight.numel() > 0 and packs(module.weight.dtype)


def _is(module: nn.Module, kind: type[nn.Module], *types: torch.dtype) -> bool:
    """Whether it computes what its class says, on weights of such a type in the processor's memory."""
    if not usual(module, kind):
        return False
    weight = module.weight
    return isinstance(weight, nn.Parameter) and weight.device.type == "cpu" and weight.dtype in types
