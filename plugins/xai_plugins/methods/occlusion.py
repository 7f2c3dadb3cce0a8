"""Occlusion sensitivity. Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal, Self

from xai_framework.core import Ask, Boxes, ConfigError, Explainer, Probe, Rng, Shape, param

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Occlusion(Explainer):
    """S(x) - S(x with a window filled), in units of the score: how much the score needs what the window hides.

    Equation: none is given in section 4.2, this is its text. ``average`` gives each pixel the mean drop of the windows
    that cover it, (B,1,H,W); ``grid`` the drops by position, (B,1,rows,columns). Windows start every ``stride`` pixels
    from the top left, 1 + ceil((size - window) / stride) a side: the last one reaches the far edge and is cut there.
    """

    window: int = param(32, ge=1, le=4096, doc="side of the square window, in input pixels")
    stride: int = param(16, ge=1, le=4096, doc="step between windows, in input pixels; at most the window")
    fill: Literal["mean", "black", "white", "blur"] = param("mean", doc="what the window is filled with")
    output: Literal["average", "grid"] = param("average", doc="drops averaged over covering windows, or by position")

    def __post_init__(self) -> None:
        """Raises ConfigError where pixels between windows would get no value."""
        super().__post_init__()
        if self.stride > self.window and self.output == "average":
            raise ConfigError(
                f"stride {self.stride} is larger than window {self.window}: pixels between windows get no value",
                where="Occlusion.stride",
                fix="use a smaller stride, or output=grid",
            )

    @classmethod
    def example(cls) -> Self:
        """Few windows on small inputs."""
        return cls(window=8, stride=8)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The clean score, and one forward pass a window."""
        rows, columns = self._positions(*about.inputs[1:])
        return (Ask("score"), Ask("scores", passes=rows * columns))

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One edited copy a window."""
        height, width = inputs.shape[2:]
        rows, columns = self._positions(height, width)
        boxes = tuple(
            (top, left, min(top + self.window, height), min(left + self.window, width))
            for top in range(0, rows * self.stride, self.stride)
            for left in range(0, columns * self.stride, self.stride)
        )
        fill = probe.baseline(self.fill, inputs)
        drops = probe.score(inputs, targets)[:, None] - probe.scores(inputs, targets, Boxes(boxes, fill))
        if self.output == "grid":
            return drops.view(-1, 1, rows, columns)
        total, covering = inputs.new_zeros(len(inputs), 1, height, width), inputs.new_zeros(height, width)
        for k, (top, left, bottom, right) in enumerate(boxes):
            total[:, :, top:bottom, left:right] += drops[:, k, None, None, None]
            covering[top:bottom, left:right] += 1
        return total / covering

    def _positions(self, height: int, width: int) -> tuple[int, int]:
        """How many windows stand below and beside one another."""
        if self.window > min(height, width):
            raise ConfigError(
                f"window {self.window} is larger than the input of {height}x{width}",
                where="occlusion.window",
                fix=f"use at most {min(height, width)}",
            )
        return (1 + ceil((height - self.window) / self.stride), 1 + ceil((width - self.window) / self.stride))
