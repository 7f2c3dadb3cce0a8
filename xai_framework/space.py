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
from xai_framework.core.errors import ModelError
from xai_framework.core.preprocess import Preprocess


class Wrapped(ModelAdapter):
    """Delegates to another adapter; base of those below. Not a plugin: it has no name and no parameters."""

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

    @property
    def input_dtype(self) -> torch.dtype:
        """As of the inner adapter around this adapter's model."""
        return self.inner.with_model(self.model).input_dtype

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


@dataclass(frozen=True)
class Reduced(Wrapped):
    """A private copy of the model in bfloat16. What enters and leaves is float32: inputs, noise, scores and gradients
    keep their digits, and only what happens within the network is coarse.
    """

    inner: ModelAdapter

    def load(self) -> nn.Module:
        """The converted copy."""
        return copy.deepcopy(self.inner.model).to(torch.bfloat16)

    @property
    def input_dtype(self) -> torch.dtype:
        """Always float32."""
        return torch.float32

    def forward(self, inputs: Tensor) -> Tensor:
        """(B,C,H,W) float32 -> (B,K) float32. Raises ModelError where the network mixes types."""
        try:
            outputs: Tensor = _Cast.apply(super().forward(_Cast.apply(inputs, torch.bfloat16)), torch.float32)
        except RuntimeError as error:
            if not any(word in str(error) for word in ("dtype", "BFloat16", "scalar type")):
                raise
            fix = "precision=float32, or precision=auto, which uses bfloat16 where it can"
            raise ModelError(f"the network does not run in bfloat16 ({error})", fix=fix) from error
        return outputs

    def pixels(self, inputs: Tensor) -> Tensor:
        """As the inner adapter does."""
        return self.inner.pixels(inputs)

    def normalise(self, pixels: Tensor) -> Tensor:
        """As the inner adapter does."""
        return self.inner.normalise(pixels)

    def mean_input(self, inputs: Tensor) -> Tensor:
        """As the inner adapter does."""
        return self.inner.mean_input(inputs)


class _Cast(torch.autograd.Function):
    """Another type on the way forth, and back. A function of its own, since rules judge those of torch: the network's
    own conversions are their business, these are not.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, dtype: torch.dtype) -> Tensor:  # noqa: ANN401 - autograd's own
        ctx.before = tensor.dtype
        return tensor.to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return gradient.to(ctx.before), None


def in_space(adapter: ModelAdapter, space: str) -> ModelAdapter:
    """The adapter whose inputs live in ``space``, ``model`` or ``pixels``."""
    return PixelSpace(adapter) if space == "pixels" else adapter


def in_precision(adapter: ModelAdapter, precision: str) -> ModelAdapter:
    """The adapter with a converted copy of the model where needed; the user's model is not touched. ``precision`` is
    float32, float64 or bfloat16.
    """
    if precision == "float32":
        return adapter
    if precision == "bfloat16":
        return Reduced(adapter)
    return adapter.with_model(copy.deepcopy(adapter.model).to(getattr(torch, precision)))
