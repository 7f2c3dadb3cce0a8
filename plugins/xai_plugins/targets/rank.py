"""Targets by rank of the backbone's own prediction.

Each rank is one target under one name, however it was asked for, so that its maps are stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import About, ClassTarget, Probe, TargetError, check_classes, param

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Rank(ClassTarget):
    """The class in place ``rank`` of the prediction: 0 is the predicted class, 1 the runner-up."""

    caption: ClassVar[str] = "rank{rank}"
    rank: int = param(0, ge=0, le=100_000, doc="place in the prediction, from 0")

    def expanded(self) -> tuple[ClassTarget, ...]:  # type: ignore[override]
        """Rank 0 is ``predicted``."""
        return (self,) if self.rank else (Predicted(**self.scoring()),)

    def check(self, labels: tuple[str, ...], classes: int) -> None:
        """There must be that many classes."""
        if self.rank >= classes:
            raise TargetError(
                f"there is no rank {self.rank} among {classes} classes",
                where="target.rank",
                fix=f"use 0..{classes - 1}",
            )

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,); of equal outputs the lower index comes first."""
        self.check((), outputs.shape[1])
        return outputs.sort(dim=1, descending=True, stable=True).indices[:, self.rank]


@dataclass(frozen=True)
class Predicted(ClassTarget):
    """The class the backbone predicts; with ``anew`` the one it predicts for each input it is asked about.

    A sampled method asks about noisy copies: with ``anew`` each copy is explained for its own prediction.
    """

    anew: bool = param(False, doc="choose again for every (noisy) input, not once for the image")

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,)."""
        return Rank(rank=0).choose(outputs, about, probe)

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """(B,K), (B,) -> (B,)."""
        check_classes(outputs, rows)
        return super().score(outputs, outputs.argmax(1) if self.anew else rows)

    def reads(self, rows: Tensor) -> Tensor | None:
        """The class itself, unless it is chosen anew."""
        return None if self.anew else super().reads(rows)


@dataclass(frozen=True)
class SecondBest(ClassTarget):
    """The runner-up of the prediction: stands for ``rank`` 1."""

    def expanded(self) -> tuple[ClassTarget, ...]:  # type: ignore[override]
        """Rank 1."""
        return (Rank(**self.scoring(), rank=1),)

    def check(self, labels: tuple[str, ...], classes: int) -> None:
        """There must be two classes."""
        Rank(rank=1).check(labels, classes)

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,)."""
        return Rank(rank=1).choose(outputs, about, probe)


@dataclass(frozen=True)
class TopK(ClassTarget):
    """The k best classes, one target each: stands for ``predicted`` and ``rank`` 1 to k-1."""

    k: int = param(3, ge=1, le=1000, doc="how many classes")

    def expanded(self) -> tuple[ClassTarget, ...]:  # type: ignore[override]
        """One target a rank."""
        return tuple(target for r in range(self.k) for target in Rank(**self.scoring(), rank=r).expanded())

    def check(self, labels: tuple[str, ...], classes: int) -> None:
        """There must be k classes."""
        if self.k > classes:
            raise TargetError(f"there are no {self.k} classes", where="target.k", fix=f"use at most {classes}")

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """Not asked: it is expanded first. Raises TargetError."""
        raise TargetError("top_k stands for several targets", where="target", fix="give rank instead")
