"""A private copy of a network that gives the same outputs faster: batch norms folded into the convolutions in front of
them, channels last in memory, and by other kernels.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.rule import Function
from xai_framework.fast.head import Head, head_of
from xai_framework.fast.kernels import shared, tune
from xai_framework.fast.usual import usual
from xai_framework.memory import out_of_memory

_FORMATS = (torch.float32, torch.bfloat16, torch.float16)
"""Types whose convolutions have kernels for channels last; others would only be copied to and fro."""

_TOLERANCE = {torch.float32: 1e-4}
"""Of the largest output, by which the copy may differ; looser where numbers have fewer digits."""


_NEED_NOT = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
"""Modules whose gradients need what they read, not what they give."""


@dataclass(frozen=True, eq=False)
class Twin:
    """``adapter`` around the copy. ``changed`` are modules whose outputs are not those of the original's; ``head`` can
    leave outputs out, where the network allows that.
    """

    adapter: ModelAdapter
    changed: frozenset[str]
    channels_last: bool
    head: Head | None = None


def twin_of(adapter: ModelAdapter, example: Tensor) -> Twin | None:
    """The copy, checked on ``example`` (1,C,H,W); None where there is nothing to gain or the outputs differ.

    The network itself is read, never changed. Modules keep their names, so layers can be asked for as usual.
    """
    model = adapter.model
    if example.dtype not in _FORMATS or not any(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()):
        return None
    try:
        before = _versions(model)
        plain = adapter.forward(example.clone())
        if _versions(model) != before:
            return None  # it writes into itself; a copy would be another one after the first pass
        return _made(adapter, example, plain, tuned=True) or _made(adapter, example, plain, tuned=False)
    except Exception as error:  # networks refuse to be copied in many ways; as it is, it does run
        if out_of_memory(error):
            raise
        return None


def _made(adapter: ModelAdapter, example: Tensor, plain: Tensor, tuned: bool) -> Twin | None:
    """A copy that gives ``plain``, in the order of memory that it runs in."""
    model = adapter.model
    private = copy.deepcopy(model, shared(model) if tuned else {})
    if not {id(m) for m in model.modules()}.isdisjoint(id(m) for m in private.modules()):
        return None  # parts of it do not let themselves be copied
    private.requires_grad_(False)
    seen = _Seen.of(adapter.with_model(private), example)
    pairs, changed = _pairs(private, seen)
    overwriting = _overwriting(private, seen)
    _fold(private, pairs)
    gains = (tuned and tune(private)) or bool(changed)
    ordered = gains or any(isinstance(m, nn.Conv2d) for m in private.modules())
    for overwrites in (True, False) if overwriting else (False,):
        for module in overwriting:
            module.inplace = overwrites
        for last in (True, False):  # a network may look into memory, as x.view(len(x), -1) does
            if not (ordered if last else gains or overwrites):
                continue
            order = torch.channels_last if last else torch.contiguous_format
            twin = adapter.with_model(private.to(memory_format=order))
            if _agrees(twin, example, plain, overwrites):
                head = head_of(twin, example, plain, _most(twin, plain))
                return Twin(twin, changed, channels_last=last, head=head)
    return None


def _versions(model: nn.Module) -> list[int]:
    """How often each parameter and buffer was written into."""
    tensors = (*model.parameters(), *model.buffers())
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _agrees(twin: ModelAdapter, example: Tensor, plain: Tensor, overwrites: bool) -> bool:
    """Whether it gives the outputs of the original, and overwrites nothing that a way back will need."""
    saved: list[tuple[Tensor, int]] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append((tensor, tensor._version))
        return tensor

    try:
        with torch.set_grad_enabled(overwrites), torch.autograd.graph.saved_tensors_hooks(note, _same):
            found = twin.forward(example.clone().requires_grad_(overwrites).clone()).detach()
    except Exception as error:  # a layout that the network does not run in
        if out_of_memory(error):
            raise
        return False
    if any(tensor._version != version for tensor, version in saved):
        return False
    return found.shape == plain.shape and bool(((found - plain).abs() <= _most(twin, plain)).all())


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _most(twin: ModelAdapter, plain: Tensor) -> Tensor:
    """By which outputs may differ."""
    return _TOLERANCE.get(next(twin.model.parameters(), plain).dtype, 0.05) * plain.abs().max()


class _Uses(TorchFunctionMode):
    """Counts the calls that make other tensors of each tensor, and keeps all alive, so that an id is one tensor's."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[int] = Counter()
        self._kept: list[Tensor] = []

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        output = func(*args, **(kwargs or {}))
        if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(output)):
            return output  # a size, say
        for tensor in pytree.arg_tree_leaves(*args, **(kwargs or {})):
            if isinstance(tensor, Tensor):
                self.times[id(tensor)] += 1
                self._kept.append(tensor)
        return output


@dataclass(frozen=True, eq=False)
class _Seen:
    """Which modules gave and which read each tensor of a pass, by its id, and the modules that run once."""

    gives: dict[int, list[str]]
    reads: list[tuple[str, int]]
    uses: Counter[int]
    once: frozenset[str]

    @classmethod
    def of(cls, adapter: ModelAdapter, example: Tensor) -> _Seen:
        """What is to be seen in a pass of ``example``."""
        gives: dict[int, list[str]] = {}
        reads: list[tuple[str, int]] = []
        runs: Counter[str] = Counter()
        kept: list[Any] = []
        modules = dict(adapter.model.named_modules())

        def note(name: str, args: Any, output: Any) -> None:  # noqa: ANN401
            runs[name] += 1
            kept.append((args, output))
            gives.setdefault(id(output), []).append(name)
            if args:
                reads.append((name, id(args[0])))

        def hook(name: str) -> Any:  # noqa: ANN401
            return lambda _, args, output: note(name, args, output)

        handles = [m.register_forward_hook(hook(n)) for n, m in modules.items()]
        try:
            with _Uses() as uses:
                kept.append(adapter.forward(example.clone()))
        finally:
            for handle in handles:
                handle.remove()
        names = Counter(id(m) for _, m in adapter.model.named_modules(remove_duplicate=False))
        once = frozenset(name for name, module in modules.items() if runs[name] == names[id(module)] == 1)
        return cls(gives, reads, uses.times, once)

    def giver(self, place: int, wanted: frozenset[str]) -> str | None:
        """The one of these modules that gives a tensor, which one function alone reads."""
        found = next((name for name in self.gives.get(place, ()) if name in wanted), None)
        return found if found in self.once and self.uses[place] == 1 else None


def _pairs(model: nn.Module, seen: _Seen) -> tuple[list[tuple[str, str]], frozenset[str]]:
    """Convolutions and the batch norms that alone read what they give, each of them run once; and all modules that give
    what such a convolution gives, as a block does that ends with one.
    """
    modules = dict(model.named_modules())
    foldable = frozenset(name for name, module in modules.items() if usual(module, nn.Conv2d))
    pairs, changed = [], set()
    for norm, place in seen.reads:
        conv = seen.giver(place, foldable) if norm in seen.once and _fixed(modules[norm]) else None
        if conv is not None:
            pairs.append((conv, norm))
            changed.update(seen.gives[place])
    return pairs, frozenset(changed)


def _overwriting(model: nn.Module, seen: _Seen) -> list[nn.ReLU | nn.ReLU6]:
    """Modules that may write into what they read: nobody else is seen to read it, and whoever gave it does not need it
    for gradients.
    """
    modules = dict(model.named_modules())
    givers = frozenset(n for n, m in modules.items() if usual(m, *_NEED_NOT))
    found = []
    for name, place in seen.reads:
        module = modules[name]
        writes = name in seen.once and usual(module, nn.ReLU, nn.ReLU6)
        if writes and not module.inplace and seen.giver(place, givers) is not None:
            found.append(module)
    return found


def _fixed(module: nn.Module) -> bool:
    return usual(module, nn.BatchNorm2d) and module.running_mean is not None


def hooked(model: nn.Module) -> bool:
    """Whether somebody's hooks stand on it: they act on the network itself, and on no copy of it."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for module in model.modules() for kind in kinds)


def _fold(model: nn.Module, pairs: list[tuple[str, str]]) -> None:
    """Put each batch norm into its convolution."""
    modules = dict(model.named_modules())
    for conv_name, norm_name in pairs:
        conv, norm = modules[conv_name], modules[norm_name]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        bias = -norm.running_mean.double() if conv.bias is None else conv.bias.double() - norm.running_mean.double()
        bias = bias * scale + (0 if norm.bias is None else norm.bias.double())
        weight = conv.weight.double() * scale[:, None, None, None]
        conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
        conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
        parent, _, leaf = norm_name.rpartition(".")
        setattr(modules[parent] if parent else model, leaf, nn.Identity())
