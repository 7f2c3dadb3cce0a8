"""What the machine can do with a network at all: ``python -m benchmarks limit``.

The fastest bare passes found over memory formats, batch sizes and, in networks with batch-norm, normalisation folded
into the convolutions; linear layers and convolutions of single places by the kernels that we choose for ourselves.
Nothing is explained, and parameters get no gradients.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from benchmarks.networks import architecture, inputs_of, network, pictures
from benchmarks.timing import Clock, Spread
from xai_framework.fast.kernels import tune

KINDS = ("forward", "forward+backward")
BATCHES = (1, 8, 16, 32)
_LONG = 2.0
FORMATS = {"as built": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Bare:
    """A bare pass in its fastest setting; ``once`` makes it for ``batch`` pictures."""

    network: str
    precision: str
    kind: str
    setting: str
    batch: int
    seconds: float
    once: Callable[[], object]


def gflops(precision: str, clock: Clock, side: int = 2048, runs: int = 5) -> float:
    """Of a product of two square matrices."""
    a = torch.randn(side, side).to(getattr(torch, precision))
    b = a.clone()
    clock.seconds(lambda: a @ b)
    return 2e-9 * side**3 / Spread.of([clock.seconds(lambda: a @ b) for _ in range(runs)]).median


@functools.cache
def best(
    name: str, precision: str, kind: str, clock: Clock, size: int = 224, batches: tuple[int, ...] = BATCHES
) -> Bare:
    """The fastest of all settings. Each is tried once warm, and the two fastest twice more."""
    tried = sorted((_timed(b, clock, 1) for b in settings(name, precision, kind, size, batches)), key=_seconds)
    return min((_timed(b, clock, 2) for b in tried[:2]), key=_seconds)


def settings(name: str, precision: str, kind: str, size: int, batches: tuple[int, ...]) -> Iterator[Bare]:
    """All of them, not yet timed."""
    x = inputs_of(pictures(max(batches), size), size).to(getattr(torch, precision))
    for folded, how in itertools.product((False, True), FORMATS):
        model = _copy(name, size, precision, folded, how)
        if model is None:
            continue
        for batch in batches:
            rows = x[:batch].contiguous(memory_format=FORMATS[how])
            run = functools.partial(_forward if kind == KINDS[0] else _both, model, rows)
            words = [how, "batch-norm folded" if folded else "", f"batch {batch}"]
            yield Bare(name, precision, kind, ", ".join(filter(None, words)), batch, 0.0, run)


def _copy(name: str, size: int, precision: str, folded: bool, how: str) -> nn.Module | None:
    """None where there is nothing to fold."""
    model = copy.deepcopy(_network(name, size))
    if folded:
        if not any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
            return None
        model = fuse(model).requires_grad_(False)
    model = model.to(getattr(torch, precision)).to(memory_format=FORMATS[how])
    tune(model)
    return model


@functools.cache
def _network(name: str, size: int) -> nn.Module:
    return network(architecture(name), size)


def _forward(model: nn.Module, x: Tensor) -> None:
    with torch.inference_mode():
        model(x)


def _both(model: nn.Module, x: Tensor) -> None:
    leaf = x.detach().requires_grad_()
    torch.autograd.grad(model(leaf).amax(1).sum(), leaf)


def _timed(bare: Bare, clock: Clock, runs: int) -> Bare:
    first = clock.seconds(bare.once)
    # the first call of a short one is slower: it makes plans and touches new memory
    timed = [clock.seconds(bare.once) for _ in range(runs)] if first < _LONG or bare.seconds else [first]
    seconds = min(timed) / bare.batch
    return Bare(bare.network, bare.precision, bare.kind, bare.setting, bare.batch, seconds, bare.once)


def _seconds(bare: Bare) -> float:
    return bare.seconds
