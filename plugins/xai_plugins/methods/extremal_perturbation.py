"""Extremal perturbations. Fong, Patrick & Vedaldi 2019, arXiv:1910.08485, equations 2, 5 and 7."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param, resize

if TYPE_CHECKING:
    from torch import Tensor

_SHARPNESS = 20.0  # of the smooth maximum
_MOMENTUM = 0.9


@dataclass(frozen=True)
class ExtremalPerturbation(Explainer):
    """The smooth mask of a given area that keeps the score highest, (B,1,h,w) in [0,1]: what alone is enough.

    Equation 2: max_m S(x m + blur(x) (1 - m)) - weight |sort(m) - r_area|^2, by gradient ascent with momentum on a
    coarse grid, made smooth by a maximum over Gaussian bumps (equation 7). The score is measured in units of
    |S(x) - S(blur(x))|, so that one weight serves all networks; where that is 0 or nothing changes the score, the map
    is 0.
    """

    area: float = param(0.1, gt=0, lt=1, doc="share of the picture that is kept")
    steps: int = param(200, ge=1, le=100_000, doc="steps of the ascent")
    cells: int = param(16, ge=2, le=32, doc="cells a side of the mask's grid")
    rate: float = param(0.02, gt=0, doc="length of a step")
    weight: float = param(10.0, ge=0, doc="weight of the area, growing tenfold over the steps")

    @classmethod
    def example(cls) -> Self:
        """Few steps."""
        return cls(steps=3, cells=4)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """Two scores, and one forward and one backward pass a step."""
        return (Ask("score", passes=2), Ask("gradient", of="masked", passes=self.steps, backwards=self.steps))

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """The ascent, all rows side by side."""
        size = (inputs.shape[2], inputs.shape[3])
        hidden = probe.baseline("blur", inputs)
        unit = (probe.score(inputs, targets) - probe.score(hidden, targets)).abs()[:, None, None, None]
        evidence = (unit > 0).to(inputs)
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        with torch.inference_mode(False), torch.enable_grad():
            grid = torch.full((len(inputs), self.cells**2), 0.5, dtype=inputs.dtype, device=inputs.device)
            bumps = _bumps(self.cells).to(grid)
            speed = torch.zeros_like(grid)
            changed = torch.zeros_like(evidence.clone())
            for step in range(self.steps):
                grid = grid.detach().requires_grad_()
                mask = _smooth(grid, bumps)
                shown = resize(mask.detach(), size)
                slope = probe.gradient(hidden + (inputs - hidden) * shown, targets)
                slope = (slope * (inputs - hidden)).sum(1, keepdim=True) / unit
                changed = changed + slope.abs().amax((1, 2, 3), keepdim=True)
                area = self.weight * 10 ** (step / self.steps) * self._excess(mask)
                towards = (resize(mask, size) * slope.clone()).sum() - area.sum()
                (ascent,) = torch.autograd.grad(towards, grid)
                speed = _MOMENTUM * speed + ascent
                grid = (grid + self.rate * speed).clamp(0, 1)
            final: Tensor = _smooth(grid, bumps).detach()
        return final * evidence * (changed > 0)

    def _excess(self, mask: Tensor) -> Tensor:
        """(B,): |sort(m) - r_area|^2, the mean over the mask's values (equation 5)."""
        values = mask.flatten(1).sort(1).values
        wanted = torch.zeros_like(values)
        wanted[:, round(values.shape[1] * (1 - self.area)) :] = 1
        return (values - wanted).square().mean(1)


def _bumps(cells: int) -> Tensor:
    """(points, cells^2): how strongly each cell's bump is felt at each point of a mask twice as fine."""
    at = (torch.arange(2 * cells, dtype=torch.float64) + 0.5) / 2 - 0.5
    square = (at[:, None] - torch.arange(cells, dtype=torch.float64)).square()
    distance = square[:, None, :, None] + square[None, :, None, :]
    return torch.exp(-distance / 2).reshape(4 * cells**2, cells**2)


def _smooth(grid: Tensor, bumps: Tensor) -> Tensor:
    """(B,cells^2) -> (B,1,2*cells,2*cells): a smooth maximum over the bumps of all cells."""
    felt = bumps * grid[:, None]
    weights = (_SHARPNESS * felt).softmax(2)
    side = round(len(bumps) ** 0.5)
    return (weights * felt).sum(2).view(len(grid), 1, side, side)
