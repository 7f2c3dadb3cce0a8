"""A tensor of n copies of one activation that differ from it in a small rectangle each.

It stands in for the n copies in a forward pass: functions whose values depend on a neighbourhood are computed for the
rectangle and what it reaches, all others for whole copies. Networks need no preparation for it, since it is the
tensor, not the network, that knows; what it does not know is computed the plain way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from xai_framework.fast.groups import Share
from xai_framework.fast.spans import Frame, Ints, Spans

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

_SMALL = 1 << 14
"""Tensors of up to so many values are recognised by content, since a network may make them anew in each pass."""


@dataclass(eq=False)
class Activation:
    """One activation of the unedited picture, channels last, (1,C,H,W), and what each edit can reach of it."""

    clean: Tensor
    spans: Spans
    padded: dict[Hashable, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.clean.shape[2], self.clean.shape[3]

    def rows(self, padding: tuple[int, int], value: float) -> Tensor:
        """((H+2p)*(W+2p), C): the values place by place, with a margin."""
        key = (padding, value)
        if key not in self.padded:
            vertical, horizontal = padding
            margin = (horizontal, horizontal, vertical, vertical)
            wide = torch.nn.functional.pad(self.clean, margin, value=value) if any(padding) else self.clean
            self.padded[key] = wide[0].permute(1, 2, 0).contiguous().flatten(0, 1)
        return self.padded[key]

    def cut(self, frame: Frame, padding: tuple[int, int] = (0, 0), value: float = 0.0) -> Tensor:
        """(n,h,w,C): a copy of the clean values in each rectangle of ``frame``."""
        width = self.size[1] + 2 * padding[1]
        y = frame.start[:, :1] + padding[0] + np.arange(frame.size[0])
        x = frame.start[:, 1:] + padding[1] + np.arange(frame.size[1])
        index = torch.from_numpy((y[:, :, None] * width + x[:, None, :]).reshape(-1)).to(self.clean.device)
        return self.rows(padding, value).index_select(0, index).view(len(y), *frame.size, -1)


@dataclass(eq=False)
class Known:
    """What has been computed of the unedited picture, and what is computed now.

    With ``chosen`` None the clean pass runs and all spans are found; else the copies with these numbers are computed.
    ``channels_last``: the network can do with whole copies in that order; one that looks into memory cannot.
    ``shares`` are what the layers will compute of each copy, ``widest`` the most values of one in a pass.
    """

    memo: dict[Hashable, Any] = field(default_factory=dict)
    kept: list[Tensor] = field(default_factory=list)
    channels_last: bool = True
    chosen: Ints | None = None
    shares: list[Share] = field(default_factory=list)
    widest: int = 0

    def activation(self, key: Hashable, make: Callable[[], Activation]) -> Activation:
        """Computed once a picture."""
        found: Activation | None = self.memo.get(key)
        if found is None:
            found = self.memo[key] = make()
            self.widest = max(self.widest, int(found.spans.extents.max(0).prod()) * found.clean.shape[1])
        return found

    def new(self, key: Hashable) -> bool:
        """Whether the clean pass has not seen this: then it is computed the plain way, not remembered pass by pass."""
        return self.chosen is not None and key not in self.memo

    def forget(self) -> None:
        """Give back the memory."""
        for activation in self.memo.values():
            activation.padded.clear()
        self.memo.clear()
        self.kept.clear()

    def name(self, argument: object) -> Hashable:
        """What an argument of a function is recognised by."""
        if isinstance(argument, Changed):
            return ("activation", id(argument.activation))
        if isinstance(argument, Tensor):
            if argument.numel() <= _SMALL and not isinstance(argument, torch.nn.Parameter):
                values = argument.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                return (str(argument.dtype), tuple(argument.shape), values)
            if self.chosen is None:
                self.kept.append(argument)  # its id stays its own; one that is made anew in each pass is never known
            return ("tensor", id(argument))
        if isinstance(argument, list | tuple):
            return tuple(self.name(a) for a in argument)
        return argument if isinstance(argument, Hashable) else repr(argument)

    def key(self, func: OpOverload, args: Args, kwargs: Kwargs) -> Hashable:
        """Of one call."""
        return (str(func), self.name(args), self.name(sorted(kwargs.items())))


class Changed(Tensor):
    """n copies of an activation; ``patch`` (n,C,h,w), channels last, are the values in ``frame``.

    In the clean pass it is one copy with an empty patch. Once ``whole`` is set, by a function that works in place,
    it is that tensor.
    """

    activation: Activation
    patch: Tensor
    frame: Frame | None
    known: Known
    whole: Tensor | None

    @staticmethod
    def __new__(cls: type[Self], known: Known, activation: Activation, patch: Tensor, frame: Frame | None) -> Self:
        """As many copies as are chosen."""
        copies = 1 if known.chosen is None else len(known.chosen)
        shape = (copies, *activation.clean.shape[1:])
        made = Tensor._make_wrapper_subclass(
            cls, shape, dtype=activation.clean.dtype, device=activation.clean.device, requires_grad=False
        )
        made.known, made.activation, made.patch, made.frame, made.whole = known, activation, patch, frame, None
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: OpOverload, types: Sequence[type], args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        """Computes what is known of the function for the rectangles, everything else for whole copies."""
        from xai_framework.fast.functions import handler

        kwargs = kwargs or {}
        live = [a for a in pytree.arg_tree_leaves(*args, **kwargs) if isinstance(a, Changed) and a.whole is None]
        if live:
            handle = handler(func)
            result = handle(live[0].known, func, args, kwargs) if handle is not None else NotImplemented
            if result is not NotImplemented:
                return result
        return _plainly(func, args, kwargs)

    def copies(self) -> Tensor:
        """(n,C,H,W): all of them, whole."""
        if self.whole is not None:
            return self.whole
        if self.frame is None:
            found = self.activation.clean.clone()
        else:
            found = self.within(Frame(np.zeros_like(self.frame.start), self.activation.size))
        return found if self.known.channels_last else found.contiguous()

    def within(self, frame: Frame, padding: tuple[int, int] = (0, 0), value: float = 0.0) -> Tensor:
        """(n,C,h,w): the copies' values in ``frame``, which may reach into a margin of ``value``."""
        assert self.frame is not None
        if frame.same(self.frame):
            return self.patch
        cut = self.activation.cut(frame, padding, value)
        _paste(cut, self.patch.permute(0, 2, 3, 1), self.frame.start - frame.start)
        return cut.permute(0, 3, 1, 2)


def _paste(into: Tensor, patch: Tensor, offset: Ints) -> None:
    """Write (n,h,w,C) into (n,H,W,C) at ``offset`` (n,2), as far as it lies inside."""
    number = offset[:, 0] * (into.shape[2] + patch.shape[2] + 1) + offset[:, 1]
    for _, first in zip(*np.unique(number, return_index=True), strict=True):
        which = np.flatnonzero(number == number[first])
        (top, left), (height, width) = offset[first].tolist(), patch.shape[1:3]
        y = slice(max(0, top), min(into.shape[1], top + height))
        x = slice(max(0, left), min(into.shape[2], left + width))
        part = (slice(y.start - top, y.stop - top), slice(x.start - left, x.stop - left))
        if len(which) == len(into):
            into[:, y, x] = patch[:, *part]
        elif len(which) == which[-1] - which[0] + 1:
            rows = slice(int(which[0]), int(which[-1]) + 1)
            into[rows, y, x] = patch[rows, *part]
        else:
            rows_at = torch.from_numpy(which).to(into.device)
            into[rows_at, y, x] = patch[rows_at][:, *part]


def _plainly(func: OpOverload, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401 - whatever the function gives
    """The function on whole copies; one that works in place makes its first argument whole for good."""
    lasting = func._schema.is_mutable or func.is_view  # whoever writes into a view writes into what it shows
    target = args[0] if args and lasting else None
    if isinstance(target, Changed) and target.whole is None:
        target.whole = target.copies().clone()
        if func.is_view:  # torch found that one fits, when it took the copies for contiguous
            target.whole = target.whole.contiguous()
    whole = pytree.tree_map_only(Changed, Changed.copies, (args, kwargs))
    result = func(*whole[0], **whole[1])
    return target if isinstance(target, Changed) and result is target.whole else result
