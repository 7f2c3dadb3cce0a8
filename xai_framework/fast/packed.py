"""Linear layers whose weights lie as oneDNN's kernels read them.

MKL's products are half as fast as oneDNN's on some processors, and both lay the weights out anew in every call where
they are not.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from xai_framework.fast.through import through


class Packed(nn.Linear):
    """Its weights must stay as they are."""

    _ahead: Tensor | None = None
    _back: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """As the layer does."""
        if input.dtype != self.weight.dtype or input.device != self.weight.device:
            return super().forward(input)
        return through(self, input)

    def ahead(self, input: Tensor) -> Tensor:
        """(...,out) of (...,in)."""
        if self._ahead is None:
            self._ahead = _packed(self.weight)
        return _product(input, self._ahead, self.bias)

    def back(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """(...,in) of (...,out)."""
        if self._back is None:
            self._back = _packed(self.weight.t().contiguous())
        return _product(gradient, self._back, None)


@cache
def packs() -> bool:
    """Whether this PyTorch has the functions, which it keeps for its own compiler, and they do what they say."""
    weight, bias, rows = torch.arange(6.0).view(2, 3), torch.tensor([1.0, -2.0]), torch.tensor([[1.0, -1.0, 3.0]])
    try:
        return bool(torch.equal(_product(rows, _packed(weight), bias), torch.tensor([[6.0, 12.0]])))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False


def _packed(weight: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return found


def _product(input: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(input, packed, bias, "none", [], "")
    return found
