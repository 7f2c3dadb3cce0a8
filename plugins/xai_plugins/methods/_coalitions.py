"""Games whose players are the parts of a picture: who takes part is shown, the others are hidden by a fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from xai_framework.core import Bounds, Probe, Rng
from xai_plugins.methods._segments import Fill, How, equally_many, per_segment, segment

if TYPE_CHECKING:
    from torch import Tensor


_LOOK = 64
"""Copies by which is judged whether each hides one part at most, as in feature ablation: rectangles around several are
hardly smaller than the picture.
"""


class Shown(Protocol):
    """n coalitions of each picture, made when asked for: thousands of them at once would be large."""

    def __len__(self) -> int: ...

    def of(self, rows: Tensor, k: range) -> Tensor:
        """(b,len(k),M): how much of each part coalitions ``k`` of pictures ``rows`` show, 0..1."""
        ...


@dataclass(frozen=True, eq=False)
class Given:
    """Coalitions held as one tensor (B,n,M)."""

    shown: Tensor

    def __len__(self) -> int:
        return self.shown.shape[1]

    def of(self, rows: Tensor, k: range) -> Tensor:
        """(b,len(k),M)."""
        return self.shown[rows, k.start : k.stop]


@dataclass(frozen=True, eq=False)
class Coalitions:
    """Edits: copies in which the parts are shown as ``shown`` says; ``labels`` (B,H,W) tell which pixel is whose."""

    shown: Shown
    labels: Tensor
    fill: Tensor
    at: str = "input"

    def __len__(self) -> int:
        return len(self.shown)

    def bounds(self, row: int) -> Sequence[Bounds] | None:
        """The rectangle around what each copy hides; None where copies hide parts from all over the picture."""
        hidden = self.shown.of(torch.tensor([row]), range(min(len(self), _LOOK)))[0] != 1
        if hidden.sum(1).double().mean() > 1:
            return None
        hidden = self.shown.of(torch.tensor([row]), range(len(self)))[0] != 1
        parts = [_around(self.labels[row] == part) for part in range(hidden.shape[1])]
        return [_union([parts[p] for p in which.nonzero()[:, 0].tolist()]) for which in hidden]

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """(b,C,H,W) -> (b*len(k),C,H,W)."""
        shown = self.shown.of(rows, k).to(x)
        labels = self.labels[rows].flatten(1)[:, None].expand(-1, len(k), -1)
        masks = shown.gather(2, labels).view(len(x), len(k), 1, *x.shape[2:])
        # exact where a part is wholly shown or hidden: all parts shown is the picture itself
        return (x[:, None] * masks + self.fill[rows][:, None] * (1 - masks)).flatten(0, 1)


def _around(mask: Tensor) -> Bounds:
    """The rectangle around a part (H,W); of one without a pixel, any pixel."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if not len(rows):
        return (0, 0, 1, 1)
    return (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def _union(boxes: Sequence[Bounds]) -> Bounds:
    """The rectangle around all; of none, any pixel."""
    if not boxes:
        return (0, 0, 1, 1)
    top, left, bottom, right = zip(*boxes, strict=True)
    return (min(top), min(left), max(bottom), max(right))


@dataclass(frozen=True, eq=False)
class Game:
    """Pictures with ``parts`` parts each: rows ``rows`` of a batch."""

    probe: Probe
    inputs: Tensor
    targets: Tensor
    labels: Tensor
    fill: Tensor
    rng: Rng
    batch: int
    rows: Tensor
    parts: int

    def __len__(self) -> int:
        return len(self.rows)

    def scores(self, shown: Shown | Tensor) -> Tensor:
        """(b,n) float64: the score of each coalition, given as :class:`Shown` or (b,n,M)."""
        which = shown if hasattr(shown, "of") else Given(shown)
        return self.probe.scores(self.inputs, self.targets, Coalitions(which, self.labels, self.fill)).double()

    def uniform(self, name: str, *shape: int) -> Tensor:
        """(b,*shape): each picture's own numbers in [0,1)."""
        return self.rng.at(name).uniform((self.batch, *shape))[self.rows]


class Player(Protocol):
    """A method that gives one value a part."""

    @property
    def segments(self) -> How:
        """What the parts are."""
        ...

    @property
    def cells(self) -> int:
        """Parts a side."""
        ...

    @property
    def fill(self) -> Fill:
        """What hides a part."""
        ...

    def values(self, game: Game) -> Tensor:
        """(b,M)."""
        ...


def play(method: Player, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
    """The map of the method's values: (B,1,cells,cells) for a grid, (B,1,H,W) for superpixels."""
    labels = segment(probe, inputs, method.segments, method.cells)
    fill = probe.baseline(method.fill, inputs)
    groups = list(equally_many(labels, method.segments, method.cells))
    values = inputs.new_zeros(len(inputs), max(parts for _, parts in groups))
    for rows, parts in groups:
        game = Game(probe, inputs[rows], targets[rows], labels[rows], fill[rows], rng, len(inputs), rows, parts)
        values[rows, :parts] = method.values(game).to(values)
    return per_segment(values, labels, method.segments, method.cells)
