"""The class the dataset says is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import About, ClassTarget, Probe
from xai_plugins.targets.index import index_of, rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Label(ClassTarget):
    """The image's true class, from the dataset; by index, or by name in the backbone's classes."""

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,). Raises TargetError where an image has no label, or one the backbone does not know."""
        return rows([index_of(a.label, a.classes, outputs.shape[1], f"label of {a.id}") for a in about], outputs)
