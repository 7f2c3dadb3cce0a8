"""The same backbone seen from another attribution space or precision."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from xai_framework.core.adapter import ModelAdapter, Prepared
from xai_framework.core.preprocess import Preprocess


class Wrapped(ModelAdapter):
    """Delegates to another adapter; base of the two below. Not a plugin: it has no name and no parameters."""

    inner: ModelAdapter

    def load(self) -> nn.Module:
        """The inner model."""
        return self.inner.model

    @property
    def preprocess(self) -> Preprocess:
        """The inner preprocessing."""
        return self.inner.preprocess

    @property
    def labels(self) -> tuple[str, ...]:
        """The inner labels."""
        return self.inner.labels

    def last_layer(self) -> str:
        """The inner choice."""
        return self.inner.last_layer()

    def to_grid(self, name: str) -> Callable[[Tensor], Tensor]:
        """The inner layout."""
        return self.inner.to_grid(name)

    def prepare(self, image: Image | NDArray[Any]) -> Prepared:
        """As the inner adapter does."""
        return self.inner.prepare(image)

    def forward(self, inputs: Tensor) -> Tensor:
        """As the inner adapter does, around this adapter's model."""
        return self.inner.with_model(self.model).forward(inputs)


@dataclass(frozen=True)
class PixelSpace(Wrapped):
    """Attributions with respect to pixels in [0,1]: normalisation becomes part of the model."""

    inner: ModelAdapter

    def prepare(self, image: Image | NDArray[Any]) -> Prepared:
        """Pixels instead of normalised values."""
        pixels, geometry = self.inner.preprocess.pixels(image)
        return Prepared(torch.from_numpy(pixels), geometry)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B,C,H,W) pixels -> (B,K)."""
        return super().forward(self.inner.normalise(inputs))

    def pixels(self, inputs: Tensor) -> Tensor:
        """Inputs are pixels already; RGB order for pictures."""
        return self.inner.pixels(self.inner.normalise(inputs))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels are the input."""
        return pixels

    def mean_input(self, inputs: Tensor) -> Tensor:
        """The pixels that normalisation maps to 0."""
        return self.inner.preprocess.denormalise(torch.zeros_like(inputs))


def in_space(adapter: ModelAdapter, space: str) -> ModelAdapter:
    """The adapter whose inputs live in ``space``, ``model`` or ``pixels``."""
    return PixelSpace(adapter) if space == "pixels" else adapter


def in_precision(adapter: ModelAdapter, precision: str) -> ModelAdapter:
    """The adapter with a converted copy of the model where needed; the user's model is not touched."""
    if precision == "float32":
        return adapter
    return adapter.with_model(copy.deepcopy(adapter.model).to(getattr(torch, precision)))
