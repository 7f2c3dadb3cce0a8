"""Only the outputs that are asked for: where each channel of a network's last convolution makes one output by itself,
the others are left out. Of small fully convolutional networks they are a quarter of a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xai_framework.core.adapter import ModelAdapter

_CHANNELS = 32
"""So many are computed at least, always the same number: last digits would show how many classes share a pass."""

_GAIN = 4
"""The least by which the channels become fewer."""


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
        where nothing was computed.
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
    ``most``. None where a network does anything else with its last convolution. Its weights are only lent.
    """
    ended: list[str] = []
    modules = dict(adapter.model.named_modules())
    handles = [m.register_forward_hook(lambda *_, name=name: ended.append(name)) for name, m in modules.items()]
    try:
        adapter.forward(example.clone())
    finally:
        for handle in handles:
            handle.remove()
    weighing = [name for name in ended if any(True for _ in modules[name].parameters(recurse=False))]
    last = weighing[-1] if weighing else ""
    conv = modules[last]
    if not isinstance(conv, nn.Conv2d) or not _plain(conv) or plain.ndim != 2 or plain.shape[1] != conv.out_channels:
        return None
    shared = sum(p is conv.weight for m in modules.values() for p in m.parameters(recurse=False))
    head = Head(conv, frozenset(ended[ended.index(last) :]))
    if ended.count(last) != 1 or shared != 1 or not head.fits(torch.arange(1)):
        return None
    largest = plain[0].abs().topk(3).indices
    return head if all(_agrees(head, adapter, example, plain, k, most) for k in (largest[:1], largest[1:])) else None


def _agrees(head: Head, adapter: ModelAdapter, example: Tensor, plain: Tensor, classes: Tensor, most: Tensor) -> bool:
    """Whether these outputs alone are what they are among all; outputs of zero would tell nothing."""
    try:
        with head.only(classes) as whole:
            found = whole(adapter.forward(example.clone()))
    except (RuntimeError, ValueError, IndexError, TypeError):  # it counts on all of its outputs
        return False
    truth = plain[:, classes]
    return bool((truth != 0).all() and ((found[:, classes] - truth).abs() <= most).all())


def _plain(conv: nn.Conv2d) -> bool:
    """Whether a channel depends on its own weights alone, by no code of somebody's own."""
    own = parametrize.is_parametrized(conv) or "forward" in conv.__dict__
    return type(conv) is nn.Conv2d and conv.groups == 1 and not own


def _constant(values: Tensor, rows: Tensor) -> nn.Parameter:
    taken = values.detach().index_select(0, rows)
    if taken.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last):
        taken = taken.contiguous(memory_format=torch.channels_last)
    return nn.Parameter(taken, requires_grad=False)
