"""Complexity as entropy. Bhatt, Weller & Moura 2020, arXiv:2005.00631."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from xai_framework.core import Case, Metric, param
from xai_plugins.metrics._heat import SIGN_DOC, EvidenceSign, warm, where

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Entropy(Metric):
    """Entropy of the heat's distribution over the pixels, in nats; its exponential is about a number of pixels.

    Equation: -sum_i p_i ln p_i, p_i = v_i / sum v. Lower is simpler, called better here; 0 (one pixel) .. ln n (the
    same everywhere), n pixels of the input, so inputs of other sizes have other values. The map is enlarged to the
    input bilinearly, which makes a coarse map more complex. No pass. NaN without heat.
    """

    family: ClassVar[Literal["complexity"]] = "complexity"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    sign: EvidenceSign = param("absolute", doc=SIGN_DOC)

    def measure(self, case: Case) -> Tensor:
        """One sum an image."""
        heat, usable = warm(case, self.sign)
        share = heat / heat.sum(1, keepdim=True)
        return where(usable, -torch.special.xlogy(share, share).sum(1)).clamp(min=0)  # 0 ln 0 is 0
