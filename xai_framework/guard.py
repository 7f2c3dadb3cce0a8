"""Notices what a plugin did to the model, names it, and puts it back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from xai_framework.core.errors import PluginError

if TYPE_CHECKING:
    from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


_SAMPLED = 16
"""Values of each tensor that are looked at: whoever changes weights behind PyTorch's back changes most of them."""


class Guard:
    """A picture of a model's state, cheap to compare: version counters find changes of weights in place, and some of
    the values those made through ``.data``, which no counter counts.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._weights = {k: v.detach().clone() for k, v in _tensors(model).items()}
        self._modules = dict(model.named_modules())
        self._children = {n: dict(m._modules) for n, m in self._modules.items()}
        self._training = {n: m.training for n, m in self._modules.items()}
        self._hooks = {n: [dict(getattr(m, h)) for h in _HOOKS] for n, m in self._modules.items()}
        self._requires = {n: p.requires_grad for n, p in model.named_parameters()}
        self._grads = {n: p.grad for n, p in model.named_parameters()}
        self._versions = self._read_versions()
        self._values = self._read_values()

    def check(self, culprit: str, *, values: bool = True) -> None:
        """Raises PluginError naming the first change after everything was put back.

        Without ``values`` only what is free to compare is compared.
        """
        changes = self._restore(values)
        if changes:
            raise PluginError(
                f"changed the model: {changes[0]}" + (f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""),
                where=culprit,
                fix="a method must leave no trace on the model; it was restored",
            )

    def _read_versions(self) -> dict[str, tuple[int, int]]:
        return {k: (id(v), v._version) for k, v in _tensors(self._model).items()}

    def _read_values(self) -> dict[torch.dtype, torch.Tensor]:
        """Some values of each tensor, put together, so that comparing them is one question to the device."""
        found: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in _tensors(self._model).values():
            flat = tensor.detach().flatten()
            found.setdefault(tensor.dtype, []).append(flat[:: max(1, len(flat) // _SAMPLED)])
        return {dtype: torch.cat(parts) for dtype, parts in found.items()}

    def _rewritten(self) -> list[str]:
        """Names of the tensors that hold other values than at first, found by those that are looked at."""
        now = self._read_values()
        if now.keys() == self._values.keys() and all(_same(now[d], self._values[d]) for d in now):
            return []
        return [k for k, v in _tensors(self._model).items() if k in self._weights and not _same(v, self._weights[k])]

    def _restore(self, values: bool) -> list[str]:
        changes = []
        for name, module in self._modules.items():
            where = name or "the model"
            if dict(module._modules) != self._children[name]:
                changes.append(f"submodules of {where}")
                module._modules.clear()
                module._modules.update(self._children[name])
            if module.training != self._training[name]:
                changes.append(f"training flag of {where}")
                module.training = self._training[name]
            for kind, before in zip(_HOOKS, self._hooks[name], strict=True):
                now: dict[int, Any] = getattr(module, kind)
                if dict(now) != before:
                    changes.append(f"{kind.strip('_').replace('_', ' ')} of {where}")
                    now.clear()
                    now.update(before)
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad != self._requires.get(name, parameter.requires_grad):
                changes.append(f"requires_grad of {name}")
                parameter.requires_grad_(self._requires[name])
            if parameter.grad is not self._grads.get(name):
                changes.append(f"gradient of {name}")
                parameter.grad = self._grads.get(name)
        return changes + self._restore_weights(values)

    def _restore_weights(self, values: bool) -> list[str]:
        now = self._read_versions()
        changed = [k for k in self._versions if now.get(k) != self._versions[k]] or (
            self._rewritten() if values else []
        )
        if changed:
            with torch.no_grad():
                for key, tensor in _tensors(self._model).items():
                    if (saved := self._weights.get(key)) is None:
                        continue
                    if tensor.shape == saved.shape and tensor.dtype == saved.dtype:
                        tensor.copy_(saved)
                    else:
                        tensor.data = saved.clone()
            self._versions = self._read_versions()
            self._values = self._read_values()
        return [f"weights {k}" for k in changed]


class Lent:
    """Tensors that several methods are given, and that none may write into."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._kept = [(t, t.detach().clone()) for t in tensors if not t.is_inference()]
        self._versions = [t._version for t, _ in self._kept]

    def restore(self) -> bool:
        """Whether anybody wrote into one; they are as before then."""
        if [t._version for t, _ in self._kept] == self._versions:
            return False
        with torch.no_grad():
            for tensor, saved in self._kept:
                tensor.copy_(saved)
        self._versions = [t._version for t, _ in self._kept]
        return True


class Habits:
    """How this process computes, as far as a plugin may change it for everybody after it."""

    def __init__(self) -> None:
        self._dtype, self._grad = torch.get_default_dtype(), torch.is_grad_enabled()
        self._threads, self._folder = torch.get_num_threads(), _folder()

    def restore(self) -> None:
        """As it was."""
        if torch.get_default_dtype() != self._dtype:
            torch.set_default_dtype(self._dtype)
        if torch.is_grad_enabled() != self._grad:
            torch.set_grad_enabled(self._grad)
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        if self._folder and _folder() != self._folder:
            os.chdir(self._folder)


def _folder() -> str:
    """The working folder; empty where somebody has deleted it."""
    try:
        return os.getcwd()  # noqa: PTH109 - compared as it is given
    except OSError:
        return ""


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
