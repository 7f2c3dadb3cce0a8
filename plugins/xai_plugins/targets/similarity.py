"""Likeness to a reference picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import About, File, Probe, Target, TargetError, param

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Similarity(Target):
    """Cosine of the outputs with those of a reference picture, in [-1,1].

    Outputs are the backbone's: logits of a classifier, features of the backbone ``embedding``.
    """

    caption: ClassVar[str] = "similarity({image})"

    image: File = param(doc="the reference picture")

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,K): the reference's outputs, of length 1."""
        from torch.nn.functional import normalize

        reference = normalize(probe.outputs(probe.reference(self.image)), dim=1)
        return reference.expand(len(outputs), -1)

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """(B,K), (B,K) -> (B,)."""
        from torch.nn.functional import normalize

        if rows.shape != outputs.shape:
            raise TargetError(f"a reference of {tuple(rows.shape)} for outputs {tuple(outputs.shape)}")
        return (normalize(outputs, dim=1) * rows).sum(1)
