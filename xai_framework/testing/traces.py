"""Everything a plugin must leave as it was, before and after."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True, eq=False)
class Trace:
    """A model's state and the process's own, as comparable values under readable names."""

    facts: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module) -> Trace:
        """Weights and buffers (values and identity), modules, flags, hooks, gradients, and global states."""
        facts: dict[str, Any] = {}
        for name, module in model.named_modules():
            where = name or "the model"
            facts[f"identity of {where}"] = id(module)
            facts[f"training flag of {where}"] = module.training
            facts[f"hooks of {where}"] = [list(getattr(module, h)) for h in _HOOKS]
            facts[f"attributes of {where}"] = sorted(vars(module))
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            facts[f"identity of {name}"] = id(tensor)
            facts[f"values of {name}"] = tensor.detach().clone()
            facts[f"requires_grad of {name}"] = tensor.requires_grad
            facts[f"gradient of {name}"] = None if tensor.grad is None else tensor.grad.clone()
        return cls({**facts, **_process()})

    def changes(self, later: Trace) -> list[str]:
        """What differs, in words."""
        names = [*self.facts, *(n for n in later.facts if n not in self.facts)]
        return [n for n in names if not _same(self.facts.get(n), later.facts.get(n))]


def _process() -> dict[str, Any]:
    _, keys, *position = np.random.get_state()
    return {
        "torch's global random state": torch.get_rng_state(),
        "numpy's global random state": (np.asarray(keys).tobytes(), position),
        "Python's global random state": random.getstate(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's thread count": torch.get_num_threads(),
        "torch's attention fast path": torch.backends.mha.get_fastpath_enabled(),
    }


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
    return type(a) is type(b) and a == b


@contextmanager
def disordered(model: nn.Module) -> Iterator[None]:
    """Batch norm and dropout in training mode, some modules not, some weights frozen, one with a gradient."""
    training = {m: m.training for m in model.modules()}
    frozen = {p: p.requires_grad for p in model.parameters()}
    first = next(iter(frozen), None)
    gradient = None if first is None else first.grad
    try:
        for i, module in enumerate(training):
            module.training = not list(module.children()) or i % 2 == 0
        for i, parameter in enumerate(frozen):
            parameter.requires_grad_(i % 2 == 0)
        if first is not None:
            first.grad = torch.ones_like(first)
        yield
    finally:
        for module, flag in training.items():
            module.training = flag
        for parameter, flag in frozen.items():
            parameter.requires_grad_(flag)
        if first is not None:
            first.grad = gradient


def several(changes: Sequence[str]) -> str:
    """The first change, and how many more there are."""
    return f"{changes[0]} (and {len(changes) - 1} more)" if len(changes) > 1 else "".join(changes)
