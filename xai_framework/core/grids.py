"""Seeing a layer's output as a grid over the picture, for networks that say nothing about their layouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST_EXTRA_TOKENS = 8  # in front of the patches; more is no class token with registers


@dataclass(frozen=True)
class Layouts:
    """What the layers of one network may give: ``size`` is (H,W) of its input, ``widths`` what its layer norms span.

    Transformers keep channels last, and norm them there; that tells (B,h,w,C) from (B,C,h,w).
    """

    size: tuple[int, int]
    widths: frozenset[int]

    @classmethod
    def of(cls, model: nn.Module, size: tuple[int, int]) -> Layouts:
        """Read off the network's modules."""
        spans = (getattr(m, "normalized_shape", None) for m in model.modules())
        return cls(size, frozenset(s[-1] for s in spans if isinstance(s, tuple) and s))

    def shape(self, output: tuple[int, ...]) -> tuple[int, int, int] | None:
        """(C,h,w) of an output of this shape, None where it is no grid."""
        if len(output) == 4:
            return (output[3], *output[1:3]) if self._channels_last(output) else (output[1], *output[2:])
        if len(output) == 3 and output[2] in self.widths and (extra := self._extra(output[1])) is not None:
            height = self._height(output[1] - extra)
            return output[2], height, (output[1] - extra) // height
        return None

    def grid(self, output: Tensor) -> Tensor:
        """(B,C,h,w), (B,h,w,C) or (B, extra + h*w, C) -> (B,C,h,w); anything else stays as it is."""
        shape = self.shape(tuple(output.shape))
        if output.ndim == 4:
            return output.permute(0, 3, 1, 2) if self._channels_last(tuple(output.shape)) else output
        if shape is None:
            return output
        patches: Tensor = output[:, output.shape[1] - shape[1] * shape[2] :]
        return patches.transpose(1, 2).reshape(len(output), *shape)

    def _channels_last(self, output: tuple[int, ...]) -> bool:
        """Whether the norms know the last axis, and those before it lie on the picture better than the last two."""
        return output[3] in self.widths and self._off(*output[1:3]) < self._off(*output[2:])

    def _off(self, height: int, width: int) -> float:
        """How far the cells of a grid of these sides are from being as high as wide; 0: they are."""
        return abs(height * self.size[1] / (width * self.size[0]) - 1)

    def _extra(self, tokens: int) -> int | None:
        """How many of the tokens are no patches: the fewest that leave a grid as high and wide as the picture is."""
        fitting = (n for n in range(min(tokens, _MOST_EXTRA_TOKENS + 1)) if self._height(tokens - n))
        return next(fitting, None)

    def _height(self, patches: int) -> int:
        """Rows of a grid of so many patches in the picture's proportion; 0 where there is none."""
        height = round((patches * self.size[0] / self.size[1]) ** 0.5)
        exact = height > 1 and patches % height == 0 and height * self.size[1] == patches // height * self.size[0]
        return height if exact else 0
