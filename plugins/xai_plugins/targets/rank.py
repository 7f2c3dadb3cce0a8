"""Targets by rank of the backbone's own prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import About, ClassTarget, Probe, TargetError, param

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Rank(ClassTarget):
    """The class in place ``rank`` of the prediction: 0 is the predicted class, 1 the runner-up."""

    caption: ClassVar[str] = "rank{rank}"
    rank: int = param(0, ge=0, le=100_000, doc="place in the prediction, from 0")

    def check(self, labels: tuple[str, ...], classes: int) -> None:
        """There must be that many classes."""
        if self.rank >= classes:
            raise TargetError(f"rank {self.rank} of {classes} classes", where="target.rank", fix=f"0..{classes - 1}")

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,); of equal outputs the lower index comes first."""
        return outputs.sort(dim=1, descending=True, stable=True).indices[:, self.rank]


@dataclass(frozen=True)
class Predicted(ClassTarget):
    """The class the backbone predicts."""

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,)."""
        return Rank(rank=0).choose(outputs, about, probe)


@dataclass(frozen=True)
class SecondBest(ClassTarget):
    """The runner-up of the prediction."""

    def check(self, labels: tuple[str, ...], classes: int) -> None:
        """There must be two classes."""
        Rank(rank=1).check(labels, classes)

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,)."""
        return Rank(rank=1).choose(outputs, about, probe)


@dataclass(frozen=True)
class TopK(ClassTarget):
    """The k best classes, one target each: stands for ``rank`` 0 to k-1."""

    k: int = param(3, ge=1, le=1000, doc="how many classes")

    def expanded(self) -> tuple[ClassTarget, ...]:  # type: ignore[override]
        """One rank each; rank 0 is the same target as ``predicted``, under the same name."""
        first: tuple[ClassTarget, ...] = (Predicted(of=self.of),)
        return first + tuple(Rank(of=self.of, rank=r) for r in range(1, self.k))

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """Not asked: it is expanded first."""
        raise TargetError("top_k stands for several targets", fix="use rank, or let the planner expand it")
