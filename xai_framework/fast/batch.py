"""How many rows a pass takes: by a rule of sizes, never by timing, so that it is the same on every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_framework.core.rule import Function

MOST_ROWS = 32

_BYTES = 1 << 25
"""Of one activation in a pass. Passes of more rows were slower on all networks measured: neighbouring layers then meet
in main memory instead of the processor's, and what is larger than this the C library takes from the system anew, empty
page by empty page, for every layer.
"""


class Largest(TorchFunctionMode):
    """Notes the most bytes of any tensor that is computed inside."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            self.bytes = max(self.bytes, output.numel() * output.element_size())
        return output


def rows_per_pass(largest: int) -> int:
    """A power of two, at most 32, for a largest activation of so many bytes a row."""
    fitting = max(1, _BYTES // max(1, largest))
    return int(min(MOST_ROWS, 1 << (fitting.bit_length() - 1)))
