"""The difference between two classes: why this one rather than that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import About, Probe, ScoredTarget, check_classes, param
from xai_plugins.targets.index import index_of
from xai_plugins.targets.label import Label
from xai_plugins.targets.rank import Rank

if TYPE_CHECKING:
    from torch import Tensor

_BY_IMAGE = {"predicted": 0, "second_best": 1}


@dataclass(frozen=True)
class Contrast(ScoredTarget):
    """The score of one class minus that of another."""

    caption: ClassVar[str] = "{plus}-{minus}"

    plus: int | str = param("predicted", doc="class index or name; or predicted, second_best, label")
    minus: int | str = param("second_best", doc="the class it is set against, given in the same way")

    def check(self, labels: tuple[str, ...], classes: int) -> None:
        """Named classes must exist."""
        for name in ("plus", "minus"):
            wanted = getattr(self, name)
            if wanted in _BY_IMAGE:
                Rank(rank=_BY_IMAGE[wanted]).check(labels, classes)
            elif wanted != "label":
                index_of(wanted, labels, classes, f"target.{name}")

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,2)."""
        import torch

        return torch.stack([self._one(name, outputs, about, probe) for name in ("plus", "minus")], 1)

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """(B,K), (B,2) -> (B,)."""
        check_classes(outputs, rows)
        chosen = self.values(outputs).gather(1, rows)
        return chosen[:, 0] - chosen[:, 1]

    def reads(self, rows: Tensor) -> Tensor | None:
        """Both classes, unless the score normalises over all."""
        return rows if self.reads_chosen else None

    def _one(self, name: str, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,)."""
        wanted = getattr(self, name)
        if wanted in _BY_IMAGE:
            return Rank(rank=_BY_IMAGE[wanted]).choose(outputs, about, probe)
        if wanted == "label":
            return Label().choose(outputs, about, probe)
        classes = about[0].classes if about else ()
        return outputs.new_full((len(outputs),), index_of(wanted, classes, outputs.shape[1], f"target.{name}")).long()
