"""Notices what a plugin did to the model, names it, and puts it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from xai_framework.core.errors import PluginError

if TYPE_CHECKING:
    from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Guard:
    """A picture of a model's state, cheap to compare: version counters find in-place changes of weights."""

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

    def check(self, culprit: str) -> None:
        """Raises PluginError naming the first change after everything was put back."""
        changes = self._restore()
        if changes:
            raise PluginError(
                f"changed the model: {changes[0]}" + (f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""),
                where=culprit,
                fix="a method must leave no trace on the model; it was restored",
            )

    def _read_versions(self) -> dict[str, tuple[int, int]]:
        return {k: (id(v), v._version) for k, v in _tensors(self._model).items()}

    def _restore(self) -> list[str]:
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
        return changes + self._restore_weights()

    def _restore_weights(self) -> list[str]:
        now = self._read_versions()
        changed = [k for k in self._versions if now.get(k) != self._versions[k]]
        if changed:
            with torch.no_grad():
                for key, tensor in _tensors(self._model).items():
                    if key in self._weights:
                        tensor.copy_(self._weights[key])
            self._versions = self._read_versions()
        return [f"weights {k}" for k in changed]


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
