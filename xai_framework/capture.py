"""Looking into a forward pass, and replacing functions in it, without leaving a trace on the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from xai_framework.core.errors import LayerError, ModelError, NotApplicable
from xai_framework.core.probe import Call
from xai_framework.core.rule import Function, Rule


def no_path(where: str) -> ModelError:
    """The error of a gradient that does not exist."""
    return ModelError(
        f"no differentiable path leads from the score to {where}",
        fix="choose a layer that the class score passes; or the model detaches or rounds: use a perturbation method",
    )


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


Graph = Literal["none", "here", "below"]
"""Where the graph of a pass starts: nowhere, at the first recorded output, or at the input."""


class Taps:
    """Records the outputs of modules during one forward pass.

    What later runs sees a clone of a recorded output, so an in-place operation cannot overwrite the record. A layer
    that cannot be recorded has its reason in ``faults``: others may have asked for more than that layer.
    """

    def __init__(self, modules: Mapping[str, nn.Module], graph: Graph) -> None:
        self.seen: dict[str, Tensor] = {}
        self.faults: dict[str, LayerError] = {}
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
        for name in self._modules:
            if name not in self.seen:
                self.faults.setdefault(name, _not_run(name))

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], Tensor | None]:
        def record(_module: nn.Module, _args: tuple[Any, ...], output: object) -> Tensor | None:
            if not isinstance(output, Tensor):
                self.faults[name] = _no_tensor(name, output)
                return None
            if name in self.seen:
                self.faults[name] = _runs_twice(name)
                return None
            if self._graph == "here":
                # from the first recorded layer on a graph is built; the caller's context restores the mode
                torch.set_grad_enabled(True)
            if self._graph != "none" and not output.requires_grad:
                output = output.detach().requires_grad_()
            self.seen[name] = output
            return output.clone()

        return record


@contextmanager
def replaced(name: str, module: nn.Module, make: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """The output of ``module`` becomes ``make(output)``. Raises LayerError unless it runs exactly once."""
    runs = 0

    def edit(_module: nn.Module, _args: tuple[Any, ...], output: object) -> Tensor:
        nonlocal runs
        runs += 1
        if not isinstance(output, Tensor):
            raise _no_tensor(name, output)
        if runs > 1:
            raise _runs_twice(name)
        return make(output)

    handle = module.register_forward_hook(edit)
    try:
        yield
    finally:
        handle.remove()
    if not runs:
        raise _not_run(name)


def _no_tensor(name: str, output: object) -> LayerError:
    return LayerError(f"layer {name!r} gives a {type(output).__name__}, not one tensor", fix="choose another layer")


def _runs_twice(name: str) -> LayerError:
    return LayerError(
        f"layer {name!r} runs more than once in a forward pass", fix="choose the module around or behind it"
    )


def _not_run(name: str) -> LayerError:
    return LayerError(f"layer {name!r} was not executed in the forward pass", fix="choose another layer")


_IDENTITY = frozenset({Tensor.clone, torch.clone, Tensor.detach, Tensor.requires_grad_, Tensor.contiguous})
"""Functions every rule lets pass: they change no value and no gradient."""


class Substitute(TorchFunctionMode):
    """Applies a rule's replacements to every function the model calls, whether by module, function or method.

    Replacements run outside the mode, so they may call the originals. A differentiable function that the rule neither
    replaces nor lets pass raises NotApplicable: a rule is never half applied in silence.
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
        if func not in self._rule.passes and func not in _IDENTITY and _differentiable(output):
            raise NotApplicable(
                f"rule {self._rule.name!r} does not know what to do with {resolve_name(func) or func}: "
                "this method has no meaning on a network with that function"
            )
        return output

    def check_used(self) -> None:
        """Raises NotApplicable where nothing was replaced: the result would be a plain gradient under another name."""
        if not self._met:
            raise NotApplicable(f"rule {self._rule.name!r} met nothing to replace in this model")


def _differentiable(output: object) -> bool:
    """Whether a gradient flows through a function's output, one tensor or several."""
    if isinstance(output, tuple | list):
        return any(_differentiable(part) for part in output)
    return isinstance(output, Tensor) and output.requires_grad


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
        if func not in self._functions:
            return output
        # of several outputs the first is meant: attention gives its weights beside it
        first, *rest = output if isinstance(output, tuple) else (output,)
        if not isinstance(first, Tensor):
            return output
        self.calls.append((func, args, kwargs or {}, first))
        return (first.clone(), *rest) if isinstance(output, tuple) else first.clone()

    def with_gradients(self, score: Tensor, inputs: Tensor) -> tuple[Tensor, list[Call]]:
        """D score / d inputs, and all calls with d score / d output."""
        if not score.requires_grad:
            raise no_path("the input")
        live = [c for c in self.calls if c[3].requires_grad]
        gradients = torch.autograd.grad(score.sum(), [inputs, *(c[3] for c in live)], allow_unused=True)
        if gradients[0] is None:
            raise no_path("the input")
        by_id = {id(c[3]): g for c, g in zip(live, gradients[1:], strict=True)}
        return gradients[0], [Call(f, a, k, out.detach(), by_id.get(id(out))) for f, a, k, out in self.calls]


def wide(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """In the inputs' type where the network works in a narrower one: sums of half precision lose their digits."""
    narrow = tensor.is_floating_point() and tensor.element_size() < dtype.itemsize
    return tensor.to(dtype) if narrow else tensor


def widened(call: Call, dtype: torch.dtype) -> Call:
    """A call of which every tensor is as wide as the inputs."""

    def of(value: Any) -> Any:  # noqa: ANN401 - any argument of any function
        if isinstance(value, Tensor):
            return wide(value, dtype)
        return type(value)(map(of, value)) if type(value) in (list, tuple) else value

    kwargs = {name: of(value) for name, value in call.kwargs.items()}
    return Call(call.function, of(call.args), kwargs, of(call.output), of(call.gradient))
