"""Noise by name: a function of (seed, image id, stream name, draw), and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch

from xai_framework.handout import Handouts

if TYPE_CHECKING:
    from torch import Size, Tensor


@dataclass(frozen=True)
class NamedRng:
    """The Rng of one batch. ``rows`` holds, for each row, its image id and the draws it stands for, outermost first.

    Every row has its own generator, seeded by a hash of its name; bits are drawn on the CPU in float32. So a row's
    noise does not depend on its batch, its place in it, the shard, the worker or the device, nor on what was drawn
    before: asked twice, one stream gives the same numbers twice. Parts of a name must print the same in every process
    (texts, numbers, tuples of them).
    """

    seed: int
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    stream: tuple[Hashable, ...] = ()
    handouts: Handouts = field(default_factory=Handouts, compare=False, repr=False)

    @classmethod
    def of(cls, seed: int, ids: Sequence[str], handouts: Handouts | None = None) -> NamedRng:
        """The root stream of a batch of images."""
        return cls(seed, tuple((i, ()) for i in ids), (), handouts or Handouts())

    def normal(self, shape: Size | tuple[int, ...]) -> Tensor:
        """Standard normal (B,...), float32."""
        return self._draw(shape, torch.randn)

    def uniform(self, shape: Size | tuple[int, ...]) -> Tensor:
        """Uniform in [0,1), (B,...), float32."""
        return self._draw(shape, torch.rand)

    def at(self, *name: Hashable) -> NamedRng:
        """The independent stream of that name below this one."""
        return replace(self, stream=(*self.stream, *name))

    def shared(self, name: str) -> NamedRng:
        """The stream of that name that all methods share; draws of enclosing sampled methods still tell apart."""
        return replace(self, stream=("shared", name))

    def repeat(self, n: int, first: int = 0) -> NamedRng:
        """Each row n times in a row, as draws first .. first+n-1."""
        rows = tuple((image, (*draws, k)) for image, draws in self.rows for k in range(first, first + n))
        return replace(self, rows=rows)

    def once(self, name: Hashable, tensor: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """``make(tensor)``, one object for the same name, tensor and stream."""
        return self.handouts.once((self.seed, self.rows, self.stream, name), name, tensor, make)

    def scope(self) -> AbstractContextManager[None]:
        """What ``once`` makes inside is forgotten at the end."""
        return self.handouts.scope()

    def _draw(self, shape: Size | tuple[int, ...], sample: Callable[..., Tensor]) -> Tensor:
        if shape[0] != len(self.rows):
            raise ValueError(f"this stream serves a batch of {len(self.rows)} rows, not {shape[0]}")
        how = {"dtype": torch.float32, "device": "cpu"}  # whatever the process has made its defaults
        return torch.stack([sample(tuple(shape[1:]), generator=self._generator(row), **how) for row in self.rows])

    def _generator(self, row: tuple[str, tuple[int, ...]]) -> torch.Generator:
        name = repr((self.seed, *row, self.stream)).encode()
        seed = int.from_bytes(blake2b(name, digest_size=8).digest(), "little") >> 1
        return torch.Generator("cpu").manual_seed(seed)
