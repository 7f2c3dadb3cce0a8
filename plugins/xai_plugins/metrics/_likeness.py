"""How alike a case's maps and others of the same images are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from xai_framework.core import Case, Sign
from xai_plugins.metrics._ranks import spearman

if TYPE_CHECKING:
    from torch import Tensor

LIKENESS_SIGN_DOC = "what is compared: the heat's size (absolute), its positive part, or the heat as it is (signed)"


def likeness(case: Case, maps: Tensor, sign: Sign) -> Tensor:
    """(B,) float64: Spearman's correlation of the enlarged heat. NaN where other maps are not finite, or where either
    heat is the same everywhere.
    """
    whole = maps.isfinite().flatten(1).all(1)
    other = replace(case, maps=maps.nan_to_num(0, 0, 0))
    similar = spearman(case.heat(sign).flatten(1), other.heat(sign).flatten(1))
    return similar.masked_fill(~whole, torch.nan)


def flat(case: Case, sign: Sign) -> Tensor:
    """(B,) bool: heat that is the same everywhere, which has no ranks. Says so."""
    heat = case.heat(sign).flatten(1)
    found = (heat == heat[:, :1]).all(1)
    for i in found.nonzero()[:, 0].tolist():
        case.undefined(i, "the heat is the same everywhere: it has no ranks to compare")
    return found
