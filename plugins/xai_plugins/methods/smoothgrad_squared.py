"""SmoothGrad-squared. Hooker, Erhan, Kindermans & Kim 2019, arXiv:1806.10758, section 3.2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from xai_plugins.methods._noisy import Noisy


@dataclass(frozen=True)
class SmoothGradSquared(Noisy):
    """Mean square of the inner method's map over noisy copies, shaped like it, >= 0: SmoothGrad that cannot cancel.

    Equation: 1/n sum_k M(x + N(0, sigma^2))^2.
    """

    statistic: ClassVar[Literal["square", "variance"]] = "square"
