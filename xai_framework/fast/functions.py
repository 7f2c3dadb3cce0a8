"""The functions that are computed for a rectangle instead of whole copies. All others are computed the plain way."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from xai_framework.fast.changed import Activation, Args, Changed, Known, Kwargs
from xai_framework.fast.groups import DENSE, Share
from xai_framework.fast.spans import Frame, Sliding

aten = torch.ops.aten

Handler = Callable[[Known, OpOverload, Args, Kwargs], Any]
"""Gives what the function gives, or NotImplemented."""

_POINTWISE = (
    *("relu", "hardswish", "hardtanh", "hardsigmoid", "silu", "sigmoid", "gelu", "elu", "leaky_relu", "tanh", "clamp"),
    *("mish", "softplus", "neg", "abs", "exp", "sqrt", "threshold", "clone", "_to_copy", "pow"),
    *("add", "sub", "mul", "div", "maximum", "minimum"),
)


def handler(func: OpOverload) -> Handler | None:
    """How a function is computed on changed copies; None where it is not known."""
    if any(argument.is_out for argument in func._schema.arguments):
        return None
    return _HANDLERS.get(func.overloadpacket)


def _pointwise(known: Known, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    """A value depends on the values in its own place, and on those of its channel's parameters."""
    tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    changed = [a for a in tensors if isinstance(a, Changed)]
    first = changed[0]
    fits = all(
        a.whole is None and a.activation.clean.shape == first.activation.clean.shape
        if isinstance(a, Changed)
        else _per_channel(a)
        for a in tensors
    )
    in_place = func._schema.is_mutable
    if not fits or (in_place and args[0] is not first):
        return NotImplemented
    pure = _pure(func) if in_place else func

    def run(view: Callable[[Changed], Tensor]) -> Tensor:
        # what is computed in place is the network's to write into; what is known of the picture is not
        now = func if in_place and known.chosen is not None and view is not _clean else pure
        result: Tensor = now(
            *(view(a) if isinstance(a, Changed) else a for a in args),
            **{k: view(a) if isinstance(a, Changed) else a for k, a in kwargs.items()},
        )
        return result

    made = _applied(known, known.key(pure, args, kwargs), changed, run)
    if made is NotImplemented or not in_place:
        return made
    first.activation, first.patch, first.frame = made.activation, made.patch, made.frame
    return first


def _clean(changed: Changed) -> Tensor:
    return changed.activation.clean


def _cat(known: Known, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    """Channels beside one another."""
    parts, dim = args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)
    if dim not in (1, -3) or not all(isinstance(p, Changed) and p.whole is None for p in parts):
        return NotImplemented
    return _applied(known, known.key(func, args, kwargs), parts, lambda view: func([view(p) for p in parts], 1))


def _batch_norm(known: Known, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    """By running statistics it is pointwise; a further value each for two outputs that only training uses."""
    x = args[0]
    if not isinstance(x, Changed) or any(isinstance(a, Changed) for a in args[1:]) or _trains(func, args):
        return NotImplemented
    key = known.key(func, args, kwargs)
    made = _applied(known, key, [x], lambda view: func(view(x), *args[1:], **kwargs)[0])
    return made if made is NotImplemented else (made, torch.empty(0), torch.empty(0))


def _convolution(known: Known, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args
    if not isinstance(x, Changed) or isinstance(weight, Changed) or weight.ndim != 4 or transposed:
        return NotImplemented
    sliding = Sliding(tuple(weight.shape[2:]), tuple(stride), tuple(padding), tuple(dilation))

    def slide(crop: Tensor, edges: Sequence[int]) -> Tensor:
        result: Tensor = func(crop, weight, bias, stride, edges, dilation, False, [0, 0], groups)
        return result

    each = weight[0].numel() * weight.shape[0]
    return _slid(known, known.key(func, args, kwargs), x, sliding, 0.0, slide, each)


def _max_pool(known: Known, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    x, kernel, stride, padding, dilation, ceil = _filled(args, ([], [0, 0], [1, 1], False), 2)
    if not isinstance(x, Changed):
        return NotImplemented
    sliding = Sliding(_pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation))

    def slide(crop: Tensor, edges: Sequence[int]) -> Tensor:
        # a crop is as large as it must be; only the clean pass rounds up
        rounds = ceil and crop.shape[2:] == x.activation.size and len(crop) == 1 and list(edges) == list(_pair(padding))
        result: Tensor = func(crop, kernel, stride, edges, dilation, rounds)[0]
        return result

    made = _slid(known, known.key(func, args, kwargs), x, sliding, -torch.inf, slide)
    return made if made is NotImplemented else (made, torch.empty(0, dtype=torch.int64))


def _average_pool(known: Known, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    x, kernel, stride, padding, ceil, margin_counts, divisor = _filled(args, ([], [0, 0], False, True, None), 2)
    if not isinstance(x, Changed) or ceil or (any(_pair(padding)) and not margin_counts):
        return NotImplemented
    sliding = Sliding(_pair(kernel), _pair(stride or kernel), _pair(padding), (1, 1))

    def slide(crop: Tensor, edges: Sequence[int]) -> Tensor:
        result: Tensor = func(crop, kernel, stride, edges, False, True, divisor)
        return result

    return _slid(known, known.key(func, args, kwargs), x, sliding, 0.0, slide)


def _mean(known: Known, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    """Over all places: the clean mean, and what the rectangle adds to it."""
    x, dims, keep = (
        args[0],
        args[1] if len(args) > 1 else None,
        args[2] if len(args) > 2 else kwargs.get("keepdim", False),
    )
    if not dims or not isinstance(x, Changed):
        return NotImplemented
    if known.chosen is None or x.frame is None or sorted(d % 4 for d in dims) != [2, 3] or kwargs.get("dtype"):
        return NotImplemented
    places = x.activation.size[0] * x.activation.size[1]
    clean = x.activation.clean.mean((2, 3), dtype=_wide(x.dtype))
    before = x.activation.cut(x.frame).sum((1, 2), dtype=_wide(x.dtype))
    found = (clean + (x.patch.sum((2, 3), dtype=_wide(x.dtype)) - before) / places).to(x.dtype)
    return found[:, :, None, None] if keep else found


_HANDLERS: dict[Any, Handler] = {
    aten.cat: _cat,
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _max_pool,
    aten.avg_pool2d: _average_pool,
    aten.mean: _mean,
    aten.native_batch_norm: _batch_norm,
    aten._native_batch_norm_legit_no_training: _batch_norm,
}
for _name in _POINTWISE:
    _HANDLERS |= {getattr(aten, n): _pointwise for n in (_name, f"{_name}_") if hasattr(aten, n)}


def _applied(known: Known, key: Hashable, changed: Sequence[Changed], run: Callable[..., Tensor]) -> Any:  # noqa: ANN401
    """A pointwise function of one or several activations; its rectangles are those around all of theirs."""

    def make() -> Activation:
        spans = changed[0].activation.spans
        for other in changed[1:]:
            spans = spans.union(other.activation.spans)
        return Activation(_last(run(_clean)), spans)

    if known.new(key):
        return NotImplemented
    activation = known.activation(key, make)
    if known.chosen is None:
        return Changed(known, activation, activation.clean, None)
    frame = _frame(known, activation, changed)
    if frame is None:
        return NotImplemented
    return Changed(known, activation, run(lambda a: a.within(frame)), frame)


def _frame(known: Known, activation: Activation, changed: Sequence[Changed]) -> Frame | None:
    """Where the result is computed; None where that is nearly everywhere."""
    first = changed[0].frame
    if first is not None and all(c.frame is not None and c.frame.same(first) for c in changed):
        return first
    frame = activation.spans[known.chosen].frame(activation.size)  # type: ignore[index]
    return None if frame.share(activation.size) >= DENSE else frame


def _slid(
    known: Known,
    key: Hashable,
    x: Changed,
    sliding: Sliding,
    margin: float,
    slide: Callable[[Tensor, Sequence[int]], Tensor],
    each: int = 0,
) -> Any:  # noqa: ANN401
    """A function of a neighbourhood. ``slide`` takes values and how many of a margin to add; ``each`` value costs so
    many multiplications.
    """

    def make() -> Activation:
        clean = _last(slide(x.activation.clean, sliding.padding))
        size = (clean.shape[2], clean.shape[3])
        activation = Activation(clean, x.activation.spans.through(sliding, size))
        if each:
            known.shares.append(Share(activation.spans.extents, size, each))
        return activation

    if known.new(key):
        return NotImplemented
    activation = known.activation(key, make)
    if known.chosen is None:
        return Changed(known, activation, activation.clean, None)
    frame = activation.spans[known.chosen].frame(activation.size)
    if frame.share(activation.size) >= DENSE:
        return NotImplemented
    if sliding.pointwise:
        crop = x.within(frame)
    else:
        crop = x.within(frame.source(sliding), _margin(sliding, x.activation.size, activation.size), margin)
    return Changed(known, activation, slide(crop, (0, 0)), frame)


def _margin(sliding: Sliding, size: tuple[int, int], gives: tuple[int, int]) -> tuple[int, int]:
    """How far windows reach out of the grid, above and below alike."""
    far = ((gives[i] - 1) * sliding.stride[i] + sliding.reach(i) - sliding.padding[i] - size[i] for i in (0, 1))
    below = tuple(far)
    return (max(sliding.padding[0], below[0]), max(sliding.padding[1], below[1]))


def _per_channel(tensor: Tensor) -> bool:
    """Whether it has no values of its own for single places or copies."""
    if tensor.ndim == 0:
        return True
    shape = (1,) * (4 - tensor.ndim) + tuple(tensor.shape)
    return len(shape) == 4 and shape[0] == shape[2] == shape[3] == 1


def _pure(func: OpOverload) -> OpOverload:
    """The function that does not work in place."""
    name = func._schema.name.split("::")[1].rstrip("_")
    found: OpOverload = getattr(getattr(aten, name), func._overloadname)
    return found


def _trains(func: OpOverload, args: Args) -> bool:
    return func.overloadpacket is aten.native_batch_norm and bool(args[5])


def _last(clean: Tensor) -> Tensor:
    return clean.contiguous(memory_format=torch.channels_last)


def _filled(args: Args, defaults: Sequence[Any], required: int) -> Args:
    return (*args, *defaults[len(args) - required :])


def _pair(value: Any) -> tuple[int, int]:  # noqa: ANN401
    if isinstance(value, int):
        return (value, value)
    return (int(value[0]), int(value[-1]))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype
