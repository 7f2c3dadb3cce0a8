"""RISE. Petsiuk, Das & Saenko 2018, arXiv:1806.07421, equation 6 and section 3.2."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param, resize
from xai_plugins.methods._segments import Fill

if TYPE_CHECKING:
    from torch import Tensor

_MASKS_AT_ONCE = 64


@dataclass(frozen=True)
class Rise(Explainer):
    """Mean score of random masks that show a pixel, (B,1,H,W), in units of the score.

    Equation 6: sum_i S(x * m_i) m_i / (N p); masks are random grids, enlarged bilinearly and shifted. ``centred`` takes
    S - mean S instead, which removes the pattern of the masks' own mean (a model that never changes its score gives 0).
    """

    stochastic: ClassVar[bool] = True

    masks: int = param(4000, ge=1, le=1_000_000, doc="random masks")
    cells: int = param(7, ge=1, le=64, doc="cells a side of a mask's grid")
    keep: float = param(0.5, gt=0, lt=1, doc="probability that a cell is shown")
    fill: Fill = param("mean", doc="what stands where the mask hides")
    centred: bool = param(True, doc="subtract the mean score of all masks first")

    @classmethod
    def example(cls) -> Self:
        """Few masks."""
        return cls(masks=6, cells=3)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """One forward pass a mask."""
        return (Ask("scores", passes=self.masks),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Scores of all masks, then their weighted sum."""
        batch, _, height, width = inputs.shape
        shape = (batch, self.masks)
        grids = (rng.at("grid").uniform((*shape, self.cells, self.cells)) < self.keep).to(inputs)
        shifts = rng.at("shift").uniform((*shape, 2))
        masks = _RandomMasks(grids, shifts, probe.baseline(self.fill, inputs))
        scores = probe.scores(inputs, targets, masks)
        if self.centred:
            scores = scores - scores[:, :1]  # equal scores then leave no rounding behind
            scores = scores - scores.mean(1, keepdim=True)
        total = inputs.new_zeros(batch, 1, height, width)
        rows = torch.arange(batch)
        for first in range(0, self.masks, _MASKS_AT_ONCE):
            k = range(first, min(first + _MASKS_AT_ONCE, self.masks))
            part = masks.of(rows, k, (height, width))
            total += (scores[:, k.start : k.stop, None, None] * part).sum(1, keepdim=True)
        return total / (self.masks * self.keep)


@dataclass(frozen=True, eq=False)
class _RandomMasks:
    """Edits: inputs under masks, made when asked for; 4,000 of them would take gigabytes.

    ``grids`` (B,n,s,s) of 0 and 1, ``shifts`` (B,n,2) in [0,1) of a cell.
    """

    grids: Tensor
    shifts: Tensor
    fill: Tensor
    at: str = "input"

    def __len__(self) -> int:
        return self.grids.shape[1]

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """(b,C,H,W) -> (b*len(k),C,H,W)."""
        masks = self.of(rows, k, (x.shape[-2], x.shape[-1]))[:, :, None]
        fill = self.fill[rows][:, None]
        return (fill + (x[:, None] - fill) * masks).flatten(0, 1)

    def of(self, rows: Tensor, k: range, size: tuple[int, int]) -> Tensor:
        """(b,len(k),H,W): each grid enlarged to one cell more than the picture, and a random window of that."""
        cells = self.grids.shape[-1]
        cell = [ceil(n / cells) for n in size]
        large = resize(self.grids[rows, k.start : k.stop], ((cells + 1) * cell[0], (cells + 1) * cell[1]))
        starts = (self.shifts[rows, k.start : k.stop] * torch.tensor(cell)).long().flatten(0, 1).tolist()
        windows = [m[y : y + size[0], x : x + size[1]] for m, (y, x) in zip(large.flatten(0, 1), starts, strict=True)]
        return torch.stack(windows).view(len(rows), len(k), *size)
