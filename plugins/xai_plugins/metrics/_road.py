"""Removed pixels guessed from the pixels around them. ROAD: Rong et al. 2022, arXiv:2202.00449, section 4.2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import avg_pool2d, interpolate

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDS = 1000  # never reached: a picture takes some thirty


def road(x: Tensor, hidden: Tensor, nothing: Tensor, tolerance: float = 2e-5) -> Tensor:
    """(n,C,H,W) with the pixels ``hidden`` (n,H,W) imputed; ``nothing`` (n,C,H,W) where all pixels are hidden.

    Each hidden pixel is the weighted mean of its neighbours, 1/6 for each direct and 1/12 for each diagonal one, hidden
    or not; at the edges, of those there are. These linear equations are solved by conjugate gradients, each channel of
    each picture on its own, until the corrections are below ``tolerance`` of the channel's range. The preconditioner
    sums corrections on ever coarser grids (Bramble, Pasciak & Xu 1990): one pixel at a time, what is known would creep
    into a large hole too slowly.
    """
    free = hidden[:, None].to(x)
    weight = _around(torch.ones_like(x[:1, :1]))  # of a pixel's neighbours: 1, less at the edges
    grids = _grids(free)
    goal = tolerance * (x.amax((2, 3), keepdim=True) - x.amin((2, 3), keepdim=True))
    guess = torch.where(hidden[:, None], _blurred_in(x, 1 - free), x)
    residual = free * (_around(guess) - weight * guess)
    direction = correction = _preconditioned(residual, grids)
    fall = _dot(residual, correction)
    for _ in range(_ROUNDS):
        unsolved = correction.abs().amax((2, 3), keepdim=True) > goal
        if not bool(unsolved.any()):
            break
        pushed = free * (weight * direction - _around(direction))
        step = _ratio(fall, _dot(direction, pushed)) * unsolved  # a solved row stands still, whatever its mates need
        guess = guess + step * direction
        residual = residual - step * pushed
        correction = torch.where(unsolved, _preconditioned(residual, grids), correction)
        now = _dot(residual, correction)
        direction = correction + _ratio(now, fall) * direction
        fall = now
    everything = hidden.flatten(1).all(1)[:, None, None, None]
    return torch.where(everything, nothing, guess)


def _around(x: Tensor) -> Tensor:
    """The weighted sum of each pixel's neighbours; there are none outside."""
    # weights 1/12, 1/6, 1/12 around a centre of 0 are (1,2,1) x (1,2,1) / 12 without its centre
    return _smooth(x).mul_(16 / 12).sub_(x, alpha=1 / 3)


def _smooth(x: Tensor) -> Tensor:
    """(1,2,1) x (1,2,1) / 16, zeros outside."""
    rows = x / 2
    rows[..., 1:, :].add_(x[..., :-1, :], alpha=0.25)
    rows[..., :-1, :].add_(x[..., 1:, :], alpha=0.25)
    both = rows / 2
    both[..., 1:].add_(rows[..., :-1], alpha=0.25)
    both[..., :-1].add_(rows[..., 1:], alpha=0.25)
    return both


def _grids(free: Tensor) -> list[Tensor]:
    """1 where a grid's cells are wholly hidden, else 0; each grid half as fine as the one before."""
    grids = [free]
    while min(grids[-1].shape[-2:]) > 1:
        grids.append((avg_pool2d(grids[-1], 2, ceil_mode=True) == 1).to(free))
    return grids


def _preconditioned(residual: Tensor, grids: list[Tensor]) -> Tensor:
    """A symmetric, positive approximation of the inverse: on each grid every cell is corrected by what it lacks."""
    lacks = [residual]
    for grid in grids[1:]:
        lacks.append(grid * avg_pool2d(_smooth(lacks[-1]), 2, ceil_mode=True, divisor_override=1))
    found = lacks[-1]
    for lack, grid in zip(lacks[-2::-1], grids[-2::-1], strict=True):
        finer = interpolate(found, scale_factor=2, mode="nearest")[..., : lack.shape[-2], : lack.shape[-1]]
        found = lack + grid * _smooth(finer)  # the adjoint of the way down
    return found


def _blurred_in(x: Tensor, known: Tensor) -> Tensor:
    """A first guess: means of what is known in squares twice as large, and larger where none is known in these."""
    if min(x.shape[-2:]) < 2:
        return x * known
    seen = avg_pool2d(known, 2, ceil_mode=True)
    coarse = avg_pool2d(x * known, 2, ceil_mode=True) / seen.clamp(min=1e-12)
    coarse = _blurred_in(coarse, (seen > 0).to(x))
    fine = interpolate(coarse, scale_factor=2, mode="nearest")[..., : x.shape[-2], : x.shape[-1]]
    return torch.where(known > 0, x, fine)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((2, 3), keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """Quotients, 0 where there is nothing left to correct."""
    return torch.where(b > 0, a / torch.where(b > 0, b, torch.ones_like(b)), torch.zeros_like(b))
