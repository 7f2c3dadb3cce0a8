"""Random logit test. Sixt, Granz & Landgraf 2020, arXiv:1912.09818."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from xai_framework.core import Ask, Case, Metric, Shape, Sign, param
from xai_plugins.metrics._likeness import LIKENESS_SIGN_DOC, flat, likeness

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RandomLogit(Metric):
    """How much of a map stays when another class is explained, drawn from all others with equal chance.

    Equation: Spearman(m_c, m_d), d != c (the paper compares by SSIM). Lower is better: a map that stays is not about
    the class; -1..1. Maps are enlarged to the input bilinearly. The method runs once more. NaN where the target is no
    class or there is no other one, where the other class has no map (zero, flat or not finite), or the heat is the
    same everywhere.
    """

    family: ClassVar[Literal["randomisation"]] = "randomisation"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    stochastic: ClassVar[bool] = True
    explains: ClassVar[bool] = True

    sign: Sign = param("absolute", doc=LIKENESS_SIGN_DOC)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The outputs, to know how many classes there are."""
        return (Ask("outputs"),)

    def measure(self, case: Case) -> Tensor:
        """One more explanation."""
        count = case.probe.outputs(case.inputs).shape[1]
        why = "the target is no class" if (case.classes < 0).all() else "there is one class only" if count < 2 else ""
        if why:
            for i in range(len(case.classes)):
                case.undefined(i, why)
            return torch.full((len(case.classes),), torch.nan, dtype=torch.float64)
        drawn = case.rng.at("other class").uniform((len(case.classes),)).to(case.classes.device)
        # float32 in [0,1) times a count may round up to it
        step = 1 + (drawn.double() * (count - 1)).long().clamp(max=count - 2)
        maps = case.explain(case.probe, case.inputs, (case.classes + step) % count)
        similar = likeness(case, maps, self.sign)
        same = flat(case, self.sign)
        for i in (similar.isnan() & ~same).nonzero()[:, 0].tolist():
            case.undefined(i, "the other class has no map to compare with")
        return similar
