"""How many rows a pass takes: by a rule of sizes, never by timing, so that it is the same on every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_framework.core.rule import Function

MOST_ROWS = 32

_VALUES = 1 << 24
"""Of one activation in a pass: 64 MB of float32. Passes of more rows were slower on all networks measured, since
neighbouring layers then meet in main memory instead of the processor's.
"""


class Largest(TorchFunctionMode):
    """Notes the most values of any tensor that is computed inside."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            self.values = max(self.values, output.numel())
        return output


def rows_per_pass(largest: int) -> int:
    """A power of two, at most 32, for a largest activation of so many values a row."""
    fitting = max(1, _VALUES // max(1, largest))
    return int(min(MOST_ROWS, 1 << (fitting.bit_length() - 1)))
