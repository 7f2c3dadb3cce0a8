"""Which part of an activation an edited window of the input can reach: exact intervals, window by window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sliding:
    """Geometry of a sliding window (convolution, pooling) along height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def reach(self, axis: int) -> int:
        """How many input values one output value spans."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    @property
    def pointwise(self) -> bool:
        """Whether each output value sees the one input value in its own place."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0)


@dataclass(frozen=True, eq=False)
class Spans:
    """For n windows, rows and columns that may differ: ``low`` (n,2) inclusive, ``high`` (n,2) exclusive."""

    low: Ints
    high: Ints

    @classmethod
    def of(cls, boxes: Sequence[tuple[int, int, int, int]]) -> Spans:
        """Of (top, left, bottom, right)."""
        corners = np.asarray(boxes, dtype=np.int64).reshape(-1, 4)
        return cls(corners[:, :2].copy(), corners[:, 2:].copy())

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, which: Ints) -> Spans:
        return Spans(self.low[which], self.high[which])

    @property
    def extents(self) -> Ints:
        """(n,2): heights and widths."""
        return self.high - self.low

    def union(self, other: Spans) -> Spans:
        """What is in either, and the rectangle around both."""
        return Spans(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def through(self, sliding: Sliding, size: tuple[int, int]) -> Spans:
        """What a sliding window that gives ``size`` values makes of them; at least one value, for uniform shapes."""
        reach, stride, padding = (
            np.array([sliding.reach(0), sliding.reach(1)]),
            np.array(sliding.stride),
            np.array(sliding.padding),
        )
        low = -((-(self.low + padding - reach + 1)) // stride)  # the first window that ends on or behind the first
        high = (self.high - 1 + padding) // stride + 1
        low = np.clip(low, 0, np.array(size) - 1)
        return Spans(low, np.maximum(np.minimum(high, np.array(size)), low + 1))

    def frame(self, size: tuple[int, int]) -> Frame:
        """The smallest frame of one size for all of them inside a grid of ``size``."""
        extent = self.extents.max(axis=0)
        return Frame(np.minimum(self.low, np.array(size) - extent), (int(extent[0]), int(extent[1])))


@dataclass(frozen=True, eq=False)
class Frame:
    """n rectangles of one size: ``start`` (n,2) of rows and columns, and their height and width."""

    start: Ints
    size: tuple[int, int]

    def same(self, other: Frame) -> bool:
        """Whether both are in the same places."""
        return self.size == other.size and bool((self.start == other.start).all())

    def source(self, sliding: Sliding) -> Frame:
        """What a sliding window must see to fill this one; may stand out of the grid by the padding."""
        start = self.start * np.array(sliding.stride) - np.array(sliding.padding)
        height, width = ((self.size[i] - 1) * sliding.stride[i] + sliding.reach(i) for i in (0, 1))
        return Frame(start, (height, width))

    def share(self, size: tuple[int, int]) -> float:
        """Its area as a share of a grid's."""
        return self.size[0] * self.size[1] / (size[0] * size[1])
