"""Gini index, sparseness. Chalasani et al. 2020, arXiv:1810.06583; Hurley & Rickard 2009, arXiv:0811.4706."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from xai_framework.core import Case, Metric, param
from xai_plugins.metrics._heat import SIGN_DOC, EvidenceSign, warm, where

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Gini(Metric):
    """How unequally the heat is spread over the pixels: 0 the same everywhere, near 1 all in one pixel.

    Equation: sum_i (2i - n - 1) v_i / (n sum_i v_i), v the n pixels' heat in ascending order, i from 1. Higher is
    sparser, called better here; 0..1 - 1/n. Quantus adds 1e-7 to every v, so its values are a little smaller. The map
    is enlarged to the input bilinearly, which makes a coarse map less sparse. No pass. NaN without heat.
    """

    family: ClassVar[Literal["complexity"]] = "complexity"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    sign: EvidenceSign = param("absolute", doc=SIGN_DOC)

    def measure(self, case: Case) -> Tensor:
        """One sorting an image."""
        heat, usable = warm(case, self.sign)
        n = heat.shape[1]
        weights = 2 * torch.arange(1, n + 1, device=heat.device, dtype=heat.dtype) - n - 1
        return where(usable, (heat.sort(dim=1).values * weights).sum(1) / (n * heat.sum(1))).clamp(0, 1)
