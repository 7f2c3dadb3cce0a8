"""Effective complexity. Nguyen & Martínez 2020, arXiv:2007.07584, simplified as in Quantus (Hedström et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from xai_framework.core import Case, Metric, param
from xai_plugins.metrics._heat import SIGN_DOC, EvidenceSign, warm, where

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EffectiveComplexity(Metric):
    """How many pixels have heat that counts: more than a small part of the largest.

    Equation: |{i: v_i > eps max v}|. The paper asks for the fewest features that keep the expected loss under a bound,
    which needs the data's distribution; this count is Quantus's stand-in for it. Lower is simpler, called better here;
    1..n, n pixels of the input. The map is enlarged to the input bilinearly. No pass. NaN without heat.
    """

    family: ClassVar[Literal["complexity"]] = "complexity"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (1.0, float("inf"))

    eps: float = param(1e-5, ge=0, lt=1, doc="part of the largest heat that does not count")
    sign: EvidenceSign = param("absolute", doc=SIGN_DOC)

    def measure(self, case: Case) -> Tensor:
        """One comparison a pixel."""
        heat, usable = warm(case, self.sign)
        return where(usable, (heat > self.eps * heat.amax(1, keepdim=True)).sum(1))
