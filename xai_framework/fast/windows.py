"""Outputs for copies that differ from a picture in a rectangle each, by passes over what has changed alone.

After "incremental inference" (Nakandala et al. 2019, Krypton), but exact: every value that an edit can reach is
computed from all values that it depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.edits import Bounds, Boxes, Local
from xai_framework.core.errors import PluginError
from xai_framework.fast.changed import Activation, Changed, Known
from xai_framework.fast.groups import groups
from xai_framework.fast.spans import Frame, Ints, Spans
from xai_framework.memory import out_of_memory

_VALUES = 6_000_000
"""The most values of one activation in a pass: 24 MB of float32."""

MOST_COPIES = 64
"""Copies in a pass."""

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Of the largest output: by so much the two ways may differ. Looser where numbers have fewer digits."""


@dataclass(eq=False)
class Windows:
    """Passes over changed rectangles, for one adapter. ``channels_last``: whether the network is known to run in that
    order of memory. ``usable``: what :meth:`try_out` found.
    """

    adapter: ModelAdapter
    channels_last: bool = False
    usable: bool = False

    def try_out(self, example: Tensor) -> None:
        """Find out on a picture (1,C,H,W) whether windows give what whole copies give. It must not be one of those to
        explain: the way that is gone must not depend on which came first.
        """
        height, width = example.shape[2:]
        y, x = max(1, height // 4), max(1, width // 4)
        places = ((0, 0, y, x), (y, x, 2 * y, 2 * x), (height - y, width - x, height, width))
        edits = Boxes(places, torch.zeros_like(example))
        copies = edits.make(example, torch.tensor([0]), range(len(edits)))
        plain = torch.cat([self.adapter.forward(copy) for copy in copies.split(1)])
        most = _TOLERANCE.get(next(self.adapter.model.parameters(), plain).dtype, 0.05) * plain.abs().max()
        self.usable = True
        found = list(self.outputs(example, 0, edits))
        self.usable = bool(found) and all(
            outputs.shape == (len(which), *plain.shape[1:]) and bool(((outputs - plain[which]).abs() <= most).all())
            for which, outputs in found
        )

    def outputs(
        self, inputs: Tensor, row: int, edits: Local, most: int = MOST_COPIES
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """For one row of ``inputs`` (B,C,H,W), pass by pass: which copies (b,), and their outputs (b,K).

        Nothing where this way is not open: the network cannot be followed, or the edits do not say where they are.
        At most ``most`` copies stand in a pass. Raises PluginError where edits say of themselves what is not so.
        """
        bounds = edits.bounds(row) if self.usable and len(edits) else None
        if bounds is None:
            return
        _check(bounds, edits, inputs)
        picture = inputs[row : row + 1].detach().clone(memory_format=torch.channels_last)
        whole, known = Activation(picture, Spans.of(bounds)), Known(channels_last=self.channels_last)
        try:
            self.adapter.forward(Changed(known, whole, picture, None))
            size = min(most, max(1, _VALUES // max(1, known.widest)))
            first, *others = groups(known.shares, len(edits), size, self._weights())
            known.chosen = first
            outputs = self._pass(known, whole, edits, row)
        except PluginError:
            raise
        except Exception as error:  # a network may do anything with a tensor: the plain way says what is wrong
            if out_of_memory(error):
                raise
            return
        try:
            yield torch.from_numpy(first), outputs
            for chosen in others:
                known.chosen = chosen
                yield torch.from_numpy(chosen), self._pass(known, whole, edits, row)
        finally:
            known.forget()  # a module may keep what it was given until the next pass

    def _weights(self) -> int:
        return sum(p.numel() for p in self.adapter.model.parameters())

    def _pass(self, known: Known, whole: Activation, edits: Local, row: int) -> Tensor:
        """(b,K): of the chosen copies."""
        assert known.chosen is not None
        frame = whole.spans[known.chosen].frame(whole.size)
        if isinstance(edits, Boxes):
            patch = _filled(whole, known.chosen, frame, edits, row)
        else:
            patch = _cut(whole, known.chosen, frame, edits, row)
        outputs = self.adapter.forward(Changed(known, whole, patch, frame))
        return outputs.copies() if isinstance(outputs, Changed) else outputs


def _check(bounds: Sequence[Bounds], edits: Local, inputs: Tensor) -> None:
    """A copy without a rectangle would have no score, in silence."""
    height, width = inputs.shape[2:]
    if len(bounds) != len(edits):
        what = f"has bounds for {len(bounds)} copies, but makes {len(edits)}"
        raise PluginError(what, where=type(edits).__name__, fix="give one rectangle for each copy, or None")
    for top, left, bottom, right in bounds:
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise PluginError(
                f"bounds {(top, left, bottom, right)} are empty or reach out of an input of {height}x{width}",
                where=type(edits).__name__,
                fix="(top, left, bottom, right), exclusive, within the input",
            )


def _filled(whole: Activation, chosen: Ints, frame: Frame, edits: Boxes, row: int) -> Tensor:
    """(b,C,h,w): what a frame shows of copies that are filled, without making them."""
    inside = _inside(whole.spans[chosen], frame.start, frame.size).to(whole.clean.device)
    fill = edits.fill.to(whole.clean).expand(-1, *whole.clean.shape[1:])
    fills = Activation(fill[row if len(fill) > 1 else 0][None], whole.spans).cut(frame)
    return torch.where(inside[..., None], fills, whole.cut(frame)).permute(0, 3, 1, 2)


def _cut(whole: Activation, chosen: Ints, frame: Frame, edits: Local, row: int) -> Tensor:
    """(b,C,h,w): what a frame shows of copies, which are made one by one."""
    height, width = frame.size
    patch = whole.clean.new_empty((len(chosen), height, width, whole.clean.shape[1])).permute(0, 3, 1, 2)
    for i, (k, (top, left)) in enumerate(zip(chosen.tolist(), frame.start.tolist(), strict=True)):
        copy = edits.make(whole.clean, torch.tensor([row]), range(k, k + 1))[0]
        if i in (0, len(chosen) - 1):
            _check_outside(copy, whole, k, edits)
        patch[i] = copy[:, top : top + height, left : left + width]
    return patch


def _check_outside(copy: Tensor, whole: Activation, number: int, edits: Local) -> None:
    """What a copy changes outside of its bounds would not be seen."""
    differs = (copy != whole.clean[0]).any(0)
    (top, left), (bottom, right) = whole.spans.low[number].tolist(), whole.spans.high[number].tolist()
    differs[top:bottom, left:right] = False
    if differs.any():
        raise PluginError(
            f"copy {number} differs from the picture outside of its bounds {(top, left, bottom, right)}",
            where=type(edits).__name__,
            fix="let bounds(row) hold all that make() changes, or give None",
        )


def _inside(spans: Spans, start: Ints, size: tuple[int, int]) -> Tensor:
    """(n,h,w) bool: which values of a frame belong to the edit; edits at the edge may be smaller."""
    y = (start[:, :1] + np.arange(size[0]))[:, :, None]
    x = (start[:, 1:] + np.arange(size[1]))[:, None, :]
    low, high = spans.low[:, :, None, None], spans.high[:, :, None, None]
    return torch.from_numpy((y >= low[:, 0]) & (y < high[:, 0]) & (x >= low[:, 1]) & (x < high[:, 1]))
