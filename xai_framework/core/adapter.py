"""A backbone: a classifier with its preprocessing, labels and layers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.errors import LayerError, ModelError, did_you_mean
from xai_framework.core.geometry import Geometry
from xai_framework.core.grids import Layouts
from xai_framework.core.plugin import Plugin
from xai_framework.core.preprocess import Preprocess

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor, nn


@dataclass(frozen=True)
class Prepared:
    """One picture made ready: ``inputs`` (C,H,W) in the attribution space, and where it lies in the photograph."""

    inputs: Tensor
    geometry: Geometry


def keep_grid(activation: Tensor) -> Tensor:
    """For layers that already give (B,C,h,w)."""
    return activation


@dataclass(frozen=True)
class Layer:
    """A module whose output can be seen as a grid. ``to_grid`` maps that output to (B,C,h,w), linearly and without
    mixing positions (it is applied to gradients as well); None is never returned for a usable layer.
    """

    name: str
    module: nn.Module
    to_grid: Callable[[Tensor], Tensor] = field(default=keep_grid, compare=False)


class ModelAdapter(Plugin, ABC):
    """What a backbone author writes: how to build the network, how photographs enter it, what its outputs mean.

    Subclasses give :meth:`load`, ``preprocess`` and ``labels``; the last two must be known without loading weights.
    ``model`` is loaded on first use and is in eval mode. Adapters are never changed: :meth:`with_model` copies.
    """

    kind: ClassVar[str] = "backbone"

    @abstractmethod
    def load(self) -> nn.Module:
        """Build the network and its weights. Raises WeightsError."""

    @property
    @abstractmethod
    def preprocess(self) -> Preprocess:
        """How a photograph becomes an input."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Class names in output order; empty where unknown."""

    @cached_property
    def model(self) -> nn.Module:
        """The network."""
        import torch

        with torch.inference_mode(False):  # weights made in inference mode could never be differentiated through
            return self.load().eval()

    @property
    def input_dtype(self) -> torch.dtype:
        """The type of what enters: that of the weights, float32 where there are none."""
        import torch

        parameter = next(self.model.parameters(), None)
        return torch.float32 if parameter is None else parameter.dtype

    def prepare(self, image: Image | NDArray[Any]) -> Prepared:
        """An upright photograph, or a float array (H,W,C) in [0,1] -> input tensor and geometry. Raises ImageError."""
        import torch

        pixels, geometry = self.preprocess.pixels(image)
        return Prepared(self.normalise(torch.from_numpy(np.ascontiguousarray(pixels))), geometry)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B,C,H,W), exactly what ``prepare`` gives -> (B,K) logits. Tuple or dict outputs are unpacked here.

        A layer may multiply the batch on its way (n edited copies of its output): (n*B,K) then. Raises ModelError.
        """
        import torch

        outputs = self.model(inputs)
        if isinstance(outputs, Mapping):
            outputs = outputs["logits"] if "logits" in outputs else next(iter(outputs.values()))
        elif isinstance(outputs, tuple | list):
            outputs = outputs[0]
        elif hasattr(outputs, "logits") and torch.is_tensor(outputs.logits):
            outputs = outputs.logits
        if not torch.is_tensor(outputs) or outputs.ndim != 2 or len(outputs) % max(1, len(inputs)):
            got = tuple(outputs.shape) if torch.is_tensor(outputs) else type(outputs).__name__
            raise ModelError(
                f"the model gives {got} for inputs {tuple(inputs.shape)}, expected (batch, classes)",
                fix="override ModelAdapter.forward to pick the logits",
            )
        return outputs

    def pixels(self, inputs: Tensor) -> Tensor:
        """Inputs back to (B,C,H,W) pixels in [0,1], RGB where there are three channels; for pictures and segments."""
        pixels = self.preprocess.denormalise(inputs).clamp(0, 1)
        return pixels.flip(-3) if self.preprocess.order == "bgr" else pixels

    def normalise(self, pixels: Tensor) -> Tensor:
        """(...,C,H,W) pixels in [0,1], model channel order -> inputs."""
        return self.preprocess.normalise(pixels)

    def mean_input(self, inputs: Tensor) -> Tensor:
        """(B,C,H,W) like ``inputs``: what normalisation maps to 0, the baseline ``mean``."""
        return inputs.new_zeros(inputs.shape)

    def last_layer(self) -> str:
        """The module path that ``last`` stands for: the deepest layer that still has a grid.

        The default runs the network once on an empty picture and takes the last module that gives (1,C,h,w) with more
        than one position, not counting modules inside it. Families that need another choice override this.
        """
        from xai_framework.core.layers import find_last_layer

        return find_last_layer(self)

    def to_grid(self, name: str) -> Callable[[Tensor], Tensor]:
        """How the output of module ``name`` becomes (B,C,h,w).

        The default reads (B,C,h,w), (B,h,w,C) and tokens (B, class and registers + h*w, C) off the shape and the
        network's layer norms. Override it for other layouts, or to be sure.
        """
        return self._layouts.grid

    def layer(self, name: str) -> Layer:
        """``last`` or a module path -> Layer. Raises LayerError with the nearest names."""
        path = self._last if name == "last" else name
        modules = dict(self.model.named_modules())
        if not path or path not in modules:
            raise LayerError(
                f"no layer {path!r} in {type(self.model).__name__}", fix=did_you_mean(path, [m for m in modules if m])
            )
        return Layer(path, modules[path], self.to_grid(path))

    @cached_property
    def _last(self) -> str:
        """Finding it may cost a forward pass; once is enough."""
        return self.last_layer()

    @cached_property
    def _layouts(self) -> Layouts:
        return Layouts.of(self.model, self.preprocess.geometry((224, 224)).input_size)

    def with_model(self, model: nn.Module) -> Self:
        """The same adapter around other weights: a converted, folded or re-initialised copy."""
        twin = copy.copy(self)
        twin.__dict__["model"] = model  # takes the place of the cached property on this copy only
        return twin
