"""New random weights for one layer after another, by seed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


def layers(model: nn.Module) -> list[str]:
    """Names of the modules with weights of their own (or statistics that can start again), as the network defines
    them: from the input to the output, for most networks.
    """
    return [
        name
        for name, module in model.named_modules()
        if [*module.parameters(recurse=False)] or ([*module.buffers(recurse=False)] and _reset(module) is not None)
    ]


def reinitialise(model: nn.Module, name: str, seed: int) -> None:
    """Module ``name`` starts again as its class starts (``reset_parameters``), in place; others stay as they are.

    Weights of a module without such a method are drawn from a normal distribution of their own mean and spread. What is
    drawn depends on the seed and the name, not on the device or on what was drawn before; torch's own random state is
    left as it was.
    """
    module = model.get_submodule(name)
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]), torch.no_grad():
        # not the seed itself: a network built with it would get the very weights it has
        torch.default_generator.manual_seed(int.from_bytes(sha256(f"{seed} {name}".encode()).digest()[:7]))
        if _reset(module) is None:
            for parameter in module.parameters(recurse=False):
                parameter.copy_(_alike(parameter))
            return
        fresh = copy.deepcopy(module).cpu()  # drawn on the CPU, by one generator for all devices
        if (reset := _reset(fresh)) is not None:
            reset()
        for old, new in zip(_own(module), _own(fresh), strict=True):
            old.copy_(new)


def _reset(module: nn.Module) -> Callable[[], object] | None:
    found = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return found if callable(found) else None


def _own(module: nn.Module) -> list[Tensor]:
    return [*chain(module.parameters(recurse=False), module.buffers(recurse=False))]


def _alike(weights: Tensor) -> Tensor:
    """Normal values of the same mean and spread."""
    return torch.randn(weights.shape, dtype=weights.dtype).to(weights) * weights.std(correction=0) + weights.mean()
