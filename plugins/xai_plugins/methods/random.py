"""The random control: a map that knows nothing. Samek et al. 2017, arXiv:1509.06321, section III compares with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import Explainer, Probe, Rng, param, resize

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Random(Explainer):
    """Uniform noise in [0,1), (B,1,H,W), another for every image: what a method must beat to say anything.

    Equation: m ~ U(0,1) on a grid of ``cells`` a side, resampled bilinearly to the input; 0 cells: each pixel its own.
    """

    stochastic: ClassVar[bool] = True
    class_specific: ClassVar[bool] = False

    cells: int = param(0, ge=0, le=1024, doc="side of the grid of random values; 0: as many as pixels")

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """No question to the probe."""
        batch, _, height, width = inputs.shape
        grid = (self.cells, self.cells) if self.cells else (height, width)
        return resize(rng.uniform((batch, 1, *grid)).to(inputs), (height, width))
