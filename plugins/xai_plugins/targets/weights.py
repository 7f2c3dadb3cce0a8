"""Any weighted combination of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import About, ConfigError, Probe, ScoredTarget, TargetError, param
from xai_plugins.targets.index import index_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Weights(ScoredTarget):
    """sum_c w_c S_c over the named classes, e.g. a product's score made of several classes' probabilities."""

    caption: ClassVar[str] = "weights({classes}: {weights})"

    classes: tuple[int | str, ...] = param(doc="class indices or names")
    weights: tuple[float, ...] = param(doc="one weight a class")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.classes) != len(self.weights):
            raise ConfigError(
                f"{len(self.weights)} weights for {len(self.classes)} classes",
                where="Weights.weights",
                fix="give one a class",
            )

    def check(self, labels: tuple[str, ...], classes: int) -> None:
        """Each class must exist, and none twice."""
        found = [index_of(c, labels, classes, "target.classes") for c in self.classes]
        if len(set(found)) < len(found):
            raise TargetError("a class is given twice", where="target.classes", fix="give one weight for it")

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,K) weights."""
        rows = outputs.new_zeros(outputs.shape)
        names = about[0].classes if about else ()
        for wanted, weight in zip(self.classes, self.weights, strict=True):
            rows[:, index_of(wanted, names, outputs.shape[1], "target.classes")] = weight
        return rows

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """(B,K), (B,K) -> (B,)."""
        if rows.shape != outputs.shape:
            raise TargetError(f"weights {tuple(rows.shape)} for outputs {tuple(outputs.shape)}")
        return (self.values(outputs) * rows).sum(1)
