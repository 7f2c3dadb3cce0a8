"""Heat as metrics read it: one number a pixel of the input, and the images where something of it is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from xai_framework.core import Case, Sign

if TYPE_CHECKING:
    from torch import Tensor

EvidenceSign = Literal["positive", "absolute"]
SIGN_DOC = "positive: negative heat is 0; absolute: its size counts"
RANK_SIGN_DOC = f"{SIGN_DOC}; signed: it ranks below 0"


def warm(case: Case, sign: Sign) -> tuple[Tensor, Tensor]:
    """(B,n) float64, the enlarged heat; (B,) bool, whether it is anywhere but 0. Says why where it is not."""
    heat = case.heat(sign).flatten(1).double()
    usable = heat.any(1)
    for i in (~usable).nonzero()[:, 0].tolist():
        case.undefined(i, "the map has no positive heat" if sign == "positive" else "the map's channels sum to 0")
    return heat, usable


def where(usable: Tensor, numbers: Tensor) -> Tensor:
    """(B,) float64: the numbers, NaN for images that cannot be judged."""
    return numbers.double().masked_fill(~usable, torch.nan)
