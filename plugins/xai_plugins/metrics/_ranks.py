"""Ranks and the correlation of ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def average_ranks(values: Tensor) -> Tensor:
    """(B,n) -> (B,n) float64: 1 for the smallest; equal values share the mean of their ranks."""
    ordered, order = values.sort(dim=1)
    new = torch.zeros_like(order)
    new[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).long()
    group = new.cumsum(1)  # equal values are one group
    count = torch.zeros_like(order).scatter_add(1, group, torch.ones_like(order))
    mean = count.cumsum(1) - (count - 1) / 2.0
    ranks = torch.empty(values.shape, dtype=torch.float64, device=values.device)
    return ranks.scatter_(1, order, mean.double().gather(1, group))


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """(B,n), (B,n) -> (B,) float64: Pearson's correlation of the ranks; NaN where either is one value everywhere."""
    a, b = (r - r.mean(1, keepdim=True) for r in (average_ranks(one), average_ranks(other)))
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()
