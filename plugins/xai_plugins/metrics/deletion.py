"""Deletion. Petsiuk, Das & Saenko 2018 (RISE), arXiv:1806.07421, section 4.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from xai_framework.core import Case
from xai_plugins.metrics._heat import where
from xai_plugins.metrics._removal import Removal, area, counts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Deletion(Removal):
    """Area under the score while the picture is removed, hottest first: a good map makes it fall at once.

    Equation: integral over r from 0 to 1 of S(x without the share r of its hottest pixels), trapezoids over steps + 1
    points. Lower is better; between 0 and 1 for probabilities. The map is enlarged to the input bilinearly, and equal
    heat stands in a random order. As published: pixels, probabilities, not normalised, and a constant in place of what
    is removed; the paper removes one row's worth of pixels a step (steps=224). The clean score and ``steps`` passes.
    NaN where the heat is the same everywhere; with ``normalise`` also where the clean score is not positive.
    """

    higher_is_better: ClassVar[bool] = False

    def measure(self, case: Case) -> Tensor:
        """Copy k is without the first places."""
        gone = counts(self.total(case), self.steps)
        clean, scores, usable = self.scores(case, [(0, n) for n in gone])
        return where(usable, area(torch.cat([clean[:, None], scores], 1), [0, *gone]))
