"""A class chosen by the user, by index or by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index as as_int
from typing import TYPE_CHECKING, ClassVar

from xai_framework.core import About, ClassTarget, Probe, TargetError, did_you_mean, param

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Index(ClassTarget):
    """One class for every image, by index or name; a list gives one target each."""

    caption: ClassVar[str] = "{index}"
    index: tuple[int | str, ...] = param(doc="class index (from 0) or class name; a list gives one target each")

    def expanded(self) -> tuple[Index, ...]:
        """One class each."""
        return tuple(Index(**self.scoring(), index=(i,)) for i in self.index)

    def check(self, labels: tuple[str, ...], classes: int) -> None:
        """Each class must exist."""
        for wanted in self.index:
            index_of(wanted, labels, classes, "target.index")

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,). Raises TargetError for a list of several: it stands for several targets."""
        if len(self.index) > 1:
            raise TargetError("a list of classes stands for several targets", where="target.index", fix="give one")
        classes = about[0].classes if about else ()
        return rows([index_of(self.index[0], classes, outputs.shape[1], "target.index")] * len(outputs), outputs)


def index_of(wanted: int | str | None, labels: tuple[str, ...], classes: int, where: str) -> int:
    """The index of a class given by index or name, of ``classes`` outputs. Raises TargetError.

    Upper and lower case are the same in names, and so are blanks and underscores.
    """
    if wanted is None:
        raise TargetError("the dataset gives no label", where=where, fix="use target=predicted")
    if not isinstance(wanted, str):
        number = as_int(wanted)  # a dataset may give numpy's integers
        if number < 0:
            raise TargetError(f"{number} is not a class", where=where, fix=f"use 0..{classes - 1}, or target=predicted")
        if number >= classes:
            raise TargetError(f"{number} is not a class of this backbone", where=where, fix=f"use 0..{classes - 1}")
        return number
    if not labels:
        raise TargetError(
            f"{wanted!r} is a name, but this backbone has no class names", where=where, fix=f"use 0..{classes - 1}"
        )
    found = [i for i, name in enumerate(labels) if _plain(name) == _plain(wanted)]
    if not found:
        raise TargetError(f"no class {wanted!r}", where=where, fix=did_you_mean(wanted, labels))
    if len(found) > 1:
        raise TargetError(f"{wanted!r} names several classes", where=where, fix=f"use an index: {found}")
    return found[0]


def rows(indices: list[int], outputs: Tensor) -> Tensor:
    """(B,) int64 on the device of ``outputs``; made as integers, since reduced precision rounds large indices."""
    import torch

    return torch.tensor(indices, dtype=torch.int64, device=outputs.device)


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()
