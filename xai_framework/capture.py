"""Looking into a forward pass, and replacing functions in it, without leaving a trace on the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from xai_framework.core.errors import LayerError, ModelError
from xai_framework.core.probe import Call
from xai_framework.core.rule import Function, Rule


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Run ``model`` in eval mode, outside inference mode, on the same kernels with and without gradients.

    Training flags are put back as they were, module by module, also after an exception.
    """
    training = [m for m in model.modules() if m.training]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        for module in training:
            module.training = False
        # the fused attention kernel serves passes without gradients only: switched off, so that both agree bit by bit
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.inference_mode(False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module in training:
            module.training = True


class Taps:
    """Records the outputs of modules during one forward pass.

    What later runs sees a clone of a recorded output, so an in-place operation cannot overwrite the record. With
    ``graph="below"`` the graph starts at the input; with ``"here"`` it starts at the first recorded output (what lies
    below runs without a graph); with ``"none"`` there is none.
    """

    def __init__(self, modules: Mapping[str, nn.Module], graph: str) -> None:
        self.seen: dict[str, Tensor] = {}
        self._modules, self._graph = modules, graph

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hooks are in place for the length of the context."""
        handles = []
        try:
            for name, module in self._modules.items():
                handles.append(module.register_forward_hook(self._hook(name)))
            yield
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in self._modules if name not in self.seen]
        if missing:
            raise LayerError(f"layer {missing[0]!r} was not executed in the forward pass", fix="choose another layer")

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], Tensor]:
        def record(_module: nn.Module, _args: tuple[Any, ...], output: object) -> Tensor:
            if not isinstance(output, Tensor):
                raise LayerError(f"layer {name!r} gives a {type(output).__name__}, not one tensor")
            if name in self.seen:
                raise LayerError(
                    f"layer {name!r} runs more than once in a forward pass", fix="choose the module around or behind it"
                )
            if self._graph == "here" and not torch.is_grad_enabled():
                # the first recorded layer: from here on a graph is built; the caller's context restores the mode
                torch.set_grad_enabled(True)
                output = output.detach().requires_grad_()
            self.seen[name] = output
            return output.clone()

        return record


class Substitute(TorchFunctionMode):
    """Applies a rule's replacements to every function the model calls, whether by module, function or method.

    Replacements run outside the mode, so they may call the originals. A differentiable function that the rule neither
    replaces nor lets pass raises ModelError: a rule is never half applied in silence.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self._rule, self._table, self._met = rule, rule.make(), False

    def __torch_function__(
        self, func: Function, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        replacement = self._table.get(func)
        if replacement is not None:
            self._met = True
            return replacement(*args, **(kwargs or {}))
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and output.requires_grad and func not in self._rule.passes:
            raise ModelError(
                f"rule {self._rule.name!r} does not know what to do with {resolve_name(func) or func}",
                fix="this method has no meaning on a network with that function; choose another method",
            )
        return output

    def check_used(self) -> None:
        """Raises ModelError where nothing was replaced: the result would be a plain gradient under another name."""
        if not self._met:
            raise ModelError(f"rule {self._rule.name!r} met nothing to replace in this model")


class Listen(TorchFunctionMode):
    """Records every call of the given functions; what later runs sees a clone of each output."""

    def __init__(self, functions: Sequence[Function]) -> None:
        super().__init__()
        self._functions = frozenset(functions)
        self.calls: list[tuple[Function, tuple[Any, ...], dict[str, Any], Tensor]] = []

    def __torch_function__(
        self, func: Function, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401
        output = func(*args, **(kwargs or {}))
        if func in self._functions and isinstance(output, Tensor):
            self.calls.append((func, args, kwargs or {}, output))
            return output.clone()
        return output

    def with_gradients(self, score: Tensor, inputs: Tensor) -> tuple[Tensor, list[Call]]:
        """D score / d inputs, and all calls with d score / d output."""
        live = [c for c in self.calls if c[3].requires_grad]
        gradients = torch.autograd.grad(score.sum(), [inputs, *(c[3] for c in live)], allow_unused=True)
        if gradients[0] is None:
            raise ModelError("the score does not depend on the input through differentiable operations")
        by_id = {id(c[3]): g for c, g in zip(live, gradients[1:], strict=True)}
        return gradients[0], [Call(f, a, k, out.detach(), by_id.get(id(out))) for f, a, k, out in self.calls]
