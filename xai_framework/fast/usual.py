"""Modules of which the class says what they compute."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize


def usual(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether it is of one of these very classes, without parametrizations and without a forward of its own."""
    return type(module) in kinds and not parametrize.is_parametrized(module) and "forward" not in module.__dict__
