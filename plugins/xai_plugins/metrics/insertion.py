"""Insertion. Petsiuk, Das & Saenko 2018 (RISE), arXiv:1806.07421, section 4.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from xai_framework.core import Case, param
from xai_plugins.metrics._heat import where
from xai_plugins.metrics._removal import Imputation, Removal, area, counts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Insertion(Removal):
    """Area under the score while the picture is put into what has no evidence, hottest first: a good map makes it rise
    at once.

    Equation: integral over r from 0 to 1 of S(baseline with the share r of the picture's hottest pixels), by trapezoids
    over steps + 1 points. Higher is better; between 0 and 1 for probabilities. The map is enlarged to the input
    bilinearly, and equal heat stands in a random order. As published: pixels, probabilities, not normalised, and the
    blurred picture to start from (pixels put into a constant one make edges of their own). The clean score and
    ``steps`` passes. NaN where the heat is the same everywhere; with ``normalise`` also where the clean score is not
    positive.
    """

    higher_is_better: ClassVar[bool] = True

    impute: Imputation = param("blur", doc="what stands where nothing is inserted yet; road: guessed from around it")

    def measure(self, case: Case) -> Tensor:
        """Copy k is without all but the first places; the last one would be the picture itself."""
        total = self.total(case)
        there = [0, *counts(total, self.steps)]
        clean, scores, usable = self.scores(case, [(n, total) for n in there[:-1]])
        return where(usable, area(torch.cat([scores, clean[:, None]], 1), there))
