"""VarGrad. Adebayo, Gilmer, Goodfellow & Kim 2018, arXiv:1810.03307, section 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from xai_plugins.methods._noisy import Noisy


@dataclass(frozen=True)
class VarGrad(Noisy):
    """Variance of the inner method's map over noisy copies (divided by n), shaped like it, >= 0: where it is unstable.

    Equation: Var_k M(x + N(0, sigma^2)).
    """

    statistic: ClassVar[Literal["square", "variance"]] = "variance"
