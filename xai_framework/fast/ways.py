"""The faster ways of asking one network: which are open, found out once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from xai_framework.core.adapter import ModelAdapter
from xai_framework.fast.twin import Twin, hooked, twin_of
from xai_framework.fast.windows import Windows


class Ways:
    """For one adapter whose weights stay as they are. Copies are made when they are first needed.

    Nothing here shows in a result but for its last digits, nor on the network.
    """

    def __init__(self, adapter: ModelAdapter) -> None:
        self._adapter = adapter
        self._shape: tuple[int, ...] | None = None
        self._twin: Twin | None = None
        self._windows: Windows | None = None

    def adapter(self, inputs: Tensor, layers: Iterable[str] = ()) -> ModelAdapter:
        """Around the network or a copy of it that gives the same outputs, and the same at ``layers``."""
        if hooked(self._adapter.model):
            return self._adapter
        self._know(inputs)
        if self._twin is None or not self._twin.changed.isdisjoint(layers):
            return self._adapter
        return self._twin.adapter

    @contextmanager
    def only(
        self, adapter: ModelAdapter, classes: Tensor, layers: Iterable[str] = ()
    ) -> Iterator[Callable[[Tensor], Tensor] | None]:
        """Passes of ``adapter``, which was given here, compute these outputs alone (m,), where that saves anything and
        changes nothing at ``layers``; the function that is given makes (B,K) of what they give. None: all are computed.
        """
        twin = self._twin
        head = twin.head if twin is not None and adapter is twin.adapter else None
        if head is None or not head.fits(classes) or not head.behind.isdisjoint(layers):
            yield None
            return
        with head.only(classes) as whole:
            yield whole

    def forget(self) -> None:
        """Somebody wrote into the network, and maybe into its copy: it is copied anew when it is needed."""
        self._shape = self._twin = self._windows = None

    def windows(self, inputs: Tensor) -> Windows | None:
        """Passes over what an edit changes; None where they are not open."""
        if hooked(self._adapter.model):
            return None
        self._know(inputs)
        if self._windows is None:
            last = self._twin is not None and self._twin.channels_last
            self._windows = Windows(self._adapter if self._twin is None else self._twin.adapter, last)
            self._windows.try_out(_example(inputs))
        return self._windows if self._windows.usable else None

    def _know(self, inputs: Tensor) -> None:
        """What is found out holds for one size of inputs: a network may go other ways for others."""
        shape = tuple(inputs.shape[1:])
        if shape != self._shape:
            self.forget()
            self._twin, self._shape = twin_of(self._adapter, _example(inputs)), shape


def _example(inputs: Tensor) -> Tensor:
    """(1,C,H,W) like ``inputs``, the same whatever they hold: what is found out must not depend on the images."""
    noise = torch.randn((1, *inputs.shape[1:]), generator=torch.Generator().manual_seed(0))
    return noise.to(inputs)
