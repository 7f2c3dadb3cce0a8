"""The way back through a strided convolution of few channels, as networks begin with: they leave most of a processor's
lanes idle.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from xai_framework.fast.through import expected, through

_FEW = 4
"""Channels of an input."""


class Stem(nn.Conv2d):
    """A strided convolution of few channels with another way to the gradient for its input.

    With stride s, input value s q + r is seen by the outputs q - d through the weights r + p + s d: each of the s x s
    residues r is a plain convolution of the outputs' gradients, and all of them are one, of s x s times the channels.
    """

    _phases: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """As the layer does."""
        usual = input.ndim == 4 and expected(input, self.weight)
        return through(self, input) if usual else super().forward(input)

    def ahead(self, input: Tensor) -> Tensor:
        """(B,O,h,w) of (B,C,H,W)."""
        return super().forward(input)

    def back(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """(B,C,H,W): the gradient for an input of ``shape``."""
        if self._phases is None:
            self._phases = _phases(self)
        (rows, columns), stride = shape[2:], self.stride
        edges, crops = [], []
        for axis, size in enumerate((rows, columns)):
            wanted, last = -(-size // stride[axis]), self._last(axis)
            behind = wanted - last - gradient.shape[2 + axis] + self._phases.shape[2 + axis] - 1
            edge = max(0, last, behind)
            edges.append(edge)
            crops.append(slice(edge - last, edge - last + wanted))
        found: Tensor = conv2d(gradient, self._phases, padding=edges)[:, :, crops[0], crops[1]]
        found = found.unflatten(1, (shape[1], *stride)).permute(0, 1, 4, 2, 5, 3)
        return found.flatten(4, 5).flatten(2, 3)[:, :, :rows, :columns]

    def _last(self, axis: int) -> int:
        """The largest d of an axis."""
        return (self.kernel_size[axis] - 1 - int(self.padding[axis])) // self.stride[axis]


def is_stem(module: nn.Module) -> bool:
    """Whether it can be made one."""
    if not isinstance(module, nn.Conv2d) or module.in_channels > _FEW or isinstance(module.padding, str):
        return False
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    return plain and min(module.stride) > 1


def _phases(conv: Stem) -> Tensor:
    """(C*s*s, O, d, d): the weights by residue; last d first, as a convolution reads."""
    (height, width), stride = conv.kernel_size, conv.stride
    padding = (int(conv.padding[0]), int(conv.padding[1]))
    last = (conv._last(0), conv._last(1))
    taps = tuple(last[i] - (-padding[i]) // stride[i] + 1 for i in (0, 1))
    found = conv.weight.new_zeros(conv.in_channels, *stride, conv.out_channels, *taps)
    for y in range(height):
        for x in range(width):
            (down, top), (right, left) = divmod(y - padding[0], stride[0]), divmod(x - padding[1], stride[1])
            found[:, top, left, :, last[0] - down, last[1] - right] = conv.weight[:, :, y, x].t()
    return found.flatten(0, 2).contiguous(memory_format=torch.channels_last)
