"""Only the outputs that are asked for: where each channel of a network's last convolution makes one output by itself,
the others are left out. Of small fully convolutional networks they are a quarter of all multiplications.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from xai_framework.core.adapter import ModelAdapter
from xai_framework.fast.usual import usual
from xai_framework.memory import out_of_memory

_CHANNELS = 32
"""So many are computed at least, always the same number: last digits would show how many classes share a pass."""

_GAIN = 4
"""The least by which the channels become fewer."""

_PER_CHANNEL = frozenset(
    getattr(torch.ops.aten, name)
    for name in (
        *("relu", "relu_", "hardtanh", "hardtanh_", "mean", "sum", "amax", "_adaptive_avg_pool2d", "avg_pool2d"),
        *("max_pool2d_with_indices", "adaptive_max_pool2d", "view", "_unsafe_view", "squeeze", "unsqueeze"),
        *("clone", "detach", "alias", "_to_copy", "as_strided_"),  # the last: of means in another order of memory
    )
)
"""What may follow the convolution. None of them can mix channels but for shapes that a trial finds."""


class Head:
    """The last convolution of a network that is nobody else's. ``behind`` are the modules that end with it or later."""

    def __init__(self, conv: nn.Conv2d, behind: frozenset[str]) -> None:
        self._conv, self.behind = conv, behind

    def fits(self, classes: Tensor) -> bool:
        """Whether these (m,) are outputs, and few enough."""
        count = self._conv.out_channels
        few = 0 < len(classes) <= _CHANNELS and count >= _CHANNELS * _GAIN
        return few and int(classes.min()) >= 0 and int(classes.max()) < count

    @contextmanager
    def only(self, classes: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
        """Passes inside compute these outputs alone; the function that is given makes (B,K) of what they give, with NaN
        where nothing was computed. ``classes`` (m,) are all different, and fit.
        """
        conv, count = self._conv, self._conv.out_channels
        weight, bias = conv.weight, conv.bias
        classes = classes.to(weight.device)
        taken = torch.cat([classes, classes[:1].expand(_CHANNELS - len(classes))])

        def whole(outputs: Tensor) -> Tensor:
            if outputs.ndim != 2 or outputs.shape[1] != _CHANNELS:
                raise ValueError(f"outputs {tuple(outputs.shape)} instead of (B,{_CHANNELS})")
            every = outputs.new_full((len(outputs), count), torch.nan)
            return every.index_copy(1, classes, outputs[:, : len(classes)])

        try:
            conv.weight = _constant(weight, taken)
            conv.bias = None if bias is None else _constant(bias, taken)
            yield whole
        finally:
            conv.weight, conv.bias = weight, bias


def head_of(adapter: ModelAdapter, example: Tensor, plain: Tensor, most: Tensor) -> Head | None:
    """Found on ``example`` (1,C,H,W), whose outputs are ``plain`` (1,K), and tried out there; the outputs may differ by
    ``most``. None where a network does anything with its last convolution that could mix channels.
    """
    if plain.ndim != 2 or plain.shape[1] < _CHANNELS * _GAIN:
        return None
    modules = dict(adapter.model.named_modules())
    convs = {n: m for n, m in modules.items() if isinstance(m, nn.Conv2d) and m.out_channels == plain.shape[1]}
    if not convs:
        return None
    try:
        ended, followed = _course(adapter, modules, example)
        weighing = [name for name in ended if any(True for _ in modules[name].parameters(recurse=False))]
        last = weighing[-1] if weighing else ""
        conv = convs.get(last)
        if conv is None or not usual(conv, nn.Conv2d) or conv.groups > 1 or ended.count(last) > 1:
            return None
        if not followed[last] <= _PER_CHANNEL:
            return None
        head = Head(conv, frozenset(ended[ended.index(last) :]))
        order = plain[0].abs().argsort(descending=True)
        alone = all(_agrees(head, adapter, example, plain, k, most) for k in (order[:1], order[1:3], order[-9:]))
        return head if alone else None
    except Exception as error:  # it counts on all of its outputs, or on nobody looking
        if out_of_memory(error):
            raise
        return None


def _course(
    adapter: ModelAdapter, modules: Mapping[str, nn.Module], example: Tensor
) -> tuple[list[str], dict[str, set[object]]]:
    """The modules in the order in which they end, and all functions that are computed after each."""
    ended: list[str] = []
    followed: dict[str, set[object]] = {}

    class Follow(TorchDispatchMode):  # which sees all functions, also those of compiled code
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
            for functions in followed.values():
                functions.add(func.overloadpacket)
            return func(*args, **(kwargs or {}))

    def note(name: str) -> None:
        ended.append(name)
        followed.setdefault(name, set())

    handles = [m.register_forward_hook(lambda *_, name=name: note(name)) for name, m in modules.items()]
    try:
        with Follow():  # type: ignore[no-untyped-call]
            adapter.forward(example.clone())
    finally:
        for handle in handles:
            handle.remove()
    return ended, followed


def _agrees(head: Head, adapter: ModelAdapter, example: Tensor, plain: Tensor, classes: Tensor, most: Tensor) -> bool:
    """Whether these outputs alone are what they are among all."""
    with head.only(classes) as whole:
        found = whole(adapter.forward(example.clone()))
    return bool(((found - plain)[:, classes].abs() <= most).all())


def _constant(values: Tensor, rows: Tensor) -> nn.Parameter:
    taken = values.detach().index_select(0, rows)
    if taken.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last):
        taken = taken.contiguous(memory_format=torch.channels_last)
    return nn.Parameter(taken, requires_grad=False)
