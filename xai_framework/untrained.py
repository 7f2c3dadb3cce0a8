"""The untrained control: the same architecture with new random weights.

What a method shows on it comes from the architecture and the picture, not from what was learnt (Adebayo et al. 2018,
arXiv:1810.03292, section 3).
"""

from __future__ import annotations

import copy
from hashlib import sha256

import torch
from torch import Tensor, nn

from xai_framework.core.adapter import ModelAdapter


def untrained(adapter: ModelAdapter, seed: int) -> ModelAdapter:
    """The adapter around a copy of its model with every weight drawn anew; the model itself is not touched."""
    return adapter.with_model(reinitialised(adapter.model, seed))


def reinitialised(model: nn.Module, seed: int) -> nn.Module:
    """A copy in which every module starts again as its class starts (``reset_parameters``).

    Weights that no such method reaches (class tokens, position biases, layer scales) are drawn from a normal
    distribution of their own mean and spread. torch's random state is left as it was.
    """
    twin = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        # not the seed itself: a network built with it would get the very weights it has
        torch.default_generator.manual_seed(int.from_bytes(sha256(f"untrained {seed}".encode()).digest()[:7]))
        reached: set[int] = set()
        for module in twin.modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
                reached |= {id(p) for p in module.parameters(recurse=False)}
        for parameter in twin.parameters():
            if id(parameter) not in reached:
                parameter.copy_(_alike(parameter))
    return twin


def _alike(weights: Tensor) -> Tensor:
    """Normal values of the same mean and spread."""
    spread = weights.std(correction=0)
    return torch.randn(weights.shape, dtype=weights.dtype).to(weights) * spread + weights.mean()
