"""Linear layers whose weights lie as oneDNN's kernels read them.

MKL's products are half as fast as oneDNN's on some processors, and both lay the weights out anew in every call where
they are not.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from xai_framework.fast.through import expected, through


class Packed(nn.Linear):
    """Its weights must stay as they are."""

    _ahead: Tensor | None = None
    _back: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """As the layer does."""
        return through(self, input) if expected(input, self.weight) else super().forward(input)

    def ahead(self, input: Tensor) -> Tensor:
        """(...,out) of (...,in)."""
        if self._ahead is None:
            self._ahead = _packed(self.weight)
        return _product(input, self._ahead, None if self.bias is None else self.bias.contiguous())

    def back(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """(...,in) of (...,out)."""
        if torch.is_grad_enabled():  # somebody differentiates gradients
            return gradient @ self.weight
        if self._back is None:
            self._back = _packed(self.weight.t())
        return _product(gradient, self._back, None)


@cache
def packs(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has the functions, which it keeps for its own compiler, and this processor."""
    weight, bias, rows, truth = (
        torch.tensor(values, dtype=dtype, device="cpu")
        for values in ([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], [1.0, -2.0], [[1.0, -1.0, 3.0]], [[6.0, 12.0]])
    )
    try:
        return bool(torch.equal(_product(rows, _packed(weight), bias), truth))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False


def _packed(weight: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return found


def _product(input: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(input, packed, bias, "none", [], "")
    return found
