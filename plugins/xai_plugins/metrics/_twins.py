"""Copies of a network that a metric may change."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn


def twin_of(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with the model, and can be differentiated through whatever mode this is called in."""
    with torch.inference_mode(False):
        return copy.deepcopy(model)
