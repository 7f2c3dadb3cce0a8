"""Memory that runs out: how that is said, and what can be given back."""

from __future__ import annotations

import gc

import torch

_NO_MEMORY = ("DefaultCPUAllocator", "could not create a primitive")


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out: PyTorch has an exception of its own for accelerators only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # the last is what a kernel library says that cannot have its working memory
    return isinstance(error, RuntimeError) and any(m in str(error) for m in _NO_MEMORY)


def release_memory() -> None:
    """Give back what is no longer used, so that a smaller pass may fit."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
