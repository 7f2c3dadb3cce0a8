"""Guided integrated gradients. Kapishnikov, Venugopalan, Avci, Wedin, Terry & Bolukbasi 2021, arXiv:2106.09788.

Algorithm 1, with the anchors that keep the path near the straight one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

from xai_framework.core import Ask, Baseline, Explainer, File, Probe, Reduction, Rng, Shape, param, reduce_channels
from xai_plugins.methods._baselines import baseline_of, check_baseline

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GuidedIntegratedGradients(Explainer):
    """Gradients integrated along a path that moves the values with the smallest gradients first, (B,C,H,W).

    Algorithm 1: in each of ``steps`` the path comes nearer to the input by an equal L1 distance, by moving the share
    ``fraction`` of values with the smallest gradients; values stay within ``distance`` of the straight path. Sums to
    S(x) - S(baseline) in the limit of many steps; in units of the score.
    """

    steps: int = param(50, ge=1, le=10_000, doc="points on the path")
    fraction: float = param(0.25, gt=0, le=1, doc="share of values moved at a time")
    distance: float = param(
        0.02, ge=0, le=1, doc="how far from the straight path a value may be, as a share of its way"
    )
    baseline: Baseline = param("mean", doc="where the path starts")
    image: File | None = param(None, doc="the picture of baseline=image")
    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_baseline(self.baseline, self.image, "GuidedIntegratedGradients")

    @classmethod
    def example(cls) -> Self:
        """Few points."""
        return cls(steps=3)

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Only with baseline=noise."""
        return self.baseline == "noise"

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward and one backward pass a point."""
        return (Ask("gradient", of="path", passes=self.steps, backwards=self.steps),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """The path of each row is its own; gradients are asked for all rows at once."""
        start = baseline_of(probe, self.baseline, self.image, inputs, rng)
        here, total = start.clone(), inputs.new_zeros(inputs.shape)
        for step in range(self.steps):
            gradients = probe.gradient(here, targets)
            moved = [
                self._moved(x, b, p, g, (step + 1) / self.steps)
                for x, b, p, g in zip(inputs, start, here, gradients, strict=True)
            ]
            there = torch.stack(moved)
            total += (there - here) * gradients
            here = there
        return reduce_channels(total, self.reduce)

    def _moved(self, x: Tensor, start: Tensor, here: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """The next point of one row's path, at the L1 distance (1 - alpha) |x - start| from x."""
        way = x - start
        low, high = max(alpha - self.distance, 0.0), min(alpha + self.distance, 1.0)
        farthest = start + high * way
        here = torch.where((here - start).abs() < low * way.abs(), start + low * way, here)
        goal = float(way.abs().sum()) * (1 - alpha)
        size = gradient.abs().nan_to_num(nan=float("inf"))  # what has no order comes last
        while True:
            excess = float((x - here).abs().sum()) - goal
            free = (here != farthest) & (way != 0)
            if excess <= 1e-6 * max(goal, 1e-12) or not free.any():
                return here
            ranked = size[free].sort().values
            threshold = ranked[min(len(ranked) - 1, int(self.fraction * (size.numel() - 1)))]
            chosen = free & (size <= threshold)
            possible = float((farthest - here).abs()[chosen].sum())
            share = min(1.0, excess / possible) if possible > 0 else 1.0
            moved = farthest if share == 1.0 else here + share * (farthest - here)
            here = torch.where(chosen, moved, here)
            if share < 1.0:
                return here
