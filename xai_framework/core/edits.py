"""Edited copies of inputs or activations, made lazily a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Edits(Protocol):
    """n edits of each row of a batch; the probe asks for a few copies at a time and scores them.

    ``at`` is ``input`` or a layer name: what is edited.
    """

    @property
    def at(self) -> str:
        """``input`` or a layer name."""
        ...

    def __len__(self) -> int: ...

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """(b,C,h,w) rows ``rows`` (b,) of the batch -> (b*len(k),C,h,w): edits k of each row, row by row."""
        ...


Bounds = tuple[int, int, int, int]
"""(top, left, bottom, right), exclusive."""


@runtime_checkable
class Local(Edits, Protocol):
    """Edits that say where they are: a probe may then compute of each copy only what differs, with the same result."""

    def bounds(self, row: int) -> Sequence[Bounds] | None:
        """For each copy of a row, a rectangle outside of which it is as it was, at least one pixel in size; None where
        they are not known, or so large that knowing them is no help.
        """
        ...


@dataclass(frozen=True, eq=False)
class Boxes:
    """Rectangles replaced by ``fill``: (B,C,H,W) or (1,C,1,1). ``boxes`` are (top, left, bottom, right), exclusive."""

    boxes: tuple[Bounds, ...]
    fill: Tensor
    at: str = "input"

    def __len__(self) -> int:
        return len(self.boxes)

    def bounds(self, row: int) -> Sequence[Bounds]:
        """The boxes."""
        return self.boxes

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """Copies with box k filled."""
        fill = self.fill.expand(-1, *x.shape[1:])
        fill = fill[rows] if len(fill) > 1 else fill
        copies = x[:, None].repeat(1, len(k), 1, 1, 1)
        for i, number in enumerate(k):
            top, left, bottom, right = self.boxes[number]
            copies[:, i, :, top:bottom, left:right] = fill[:, :, top:bottom, left:right]
        return copies.flatten(0, 1)


@dataclass(frozen=True, eq=False)
class Masks:
    """x * m + fill * (1 - m). ``masks`` (n,1,h,w) for all rows or (B,n,1,h,w); 1 keeps, 0 replaces."""

    masks: Tensor
    fill: Tensor
    at: str = "input"

    def __len__(self) -> int:
        return self.masks.shape[-4]

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """Copies under mask k."""
        part = slice(k.start, k.stop, k.step)
        masks = self.masks[part][None] if self.masks.ndim == 4 else self.masks[rows, part]
        fill = self.fill.expand(-1, *x.shape[1:])
        fill = fill[rows] if len(fill) > 1 else fill
        return (x[:, None] * masks + fill[:, None] * (1 - masks)).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class Channels:
    """Channel k of an activation set to ``value`` (Ablation-CAM)."""

    count: int
    at: str
    value: float = 0.0

    def __len__(self) -> int:
        return self.count

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """Copies with channel k replaced."""
        copies = x[:, None].repeat(1, len(k), *(1,) * (x.ndim - 1))
        for i, channel in enumerate(k):
            copies[:, i, channel] = self.value
        return copies.flatten(0, 1)
