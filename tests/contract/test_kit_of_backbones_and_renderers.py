"""The conformance kit finds what it looks for: one broken backbone or renderer for each promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from xai_framework.core import (
    ModelAdapter,
    Preprocess,
    Renderer,
    Scale,
    Status,
)
from xai_framework.testing import TinyAdapter, check_adapter, check_renderer, tiny_models

# backbones


@dataclass(frozen=True)
class BatchSeen(TinyAdapter):
    """Logits that depend on the batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) - inputs.mean()


@dataclass(frozen=True)
class FewLabels(TinyAdapter):
    """A label too few."""

    @property
    def labels(self) -> tuple[str, ...]:
        return ("ant", "bee")


@dataclass(frozen=True)
class NeedsModel(TinyAdapter):
    """Labels from the loaded network."""

    @property
    def labels(self) -> tuple[str, ...]:
        return super().labels[: self.model.classifier.out_features]  # type: ignore[union-attr, return-value]


@dataclass(frozen=True)
class NoGradient(TinyAdapter):
    """Cuts the graph."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.detach())


@dataclass(frozen=True)
class OnePosition(TinyAdapter):
    """Its last layer is a single position."""

    def to_grid(self, name: str) -> Any:
        return lambda x: x.mean((2, 3), keepdim=True)


@dataclass(frozen=True)
class OldModel(TinyAdapter):
    """Runs the model it was made with."""

    def with_model(self, model: nn.Module) -> OldModel:
        return self


@dataclass(frozen=True)
class OwnPixels(TinyAdapter):
    """Pixels that are not its own."""

    def pixels(self, inputs: Tensor) -> Tensor:
        return super().pixels(inputs) * 0.5


@dataclass(frozen=True)
class Counts(TinyAdapter):
    """Counts its calls on the model."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.model.get_buffer("features.1.num_batches_tracked").add_(1)
        return super().forward(inputs)


@dataclass(frozen=True)
class AnyLayer(TinyAdapter):
    """Every name is a layer."""

    def layer(self, name: str) -> Any:
        return super().layer(name if name.startswith("features") else "last")


@dataclass(frozen=True)
class Divides(TinyAdapter):
    """A standard deviation of zero."""

    @property
    def preprocess(self) -> Preprocess:
        return Preprocess(resize=16, crop=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (BatchSeen, "rows must not see their mates"),
        (FewLabels, "there are 5 outputs, but 2 labels"),
        (NeedsModel, "loads the model to say its labels"),
        (NoGradient, "no differentiable path"),
        (OnePosition, "one position is no map"),
        (OldModel, "does not use the model it is given"),
        (OwnPixels, "normalise does not undo pixels"),
        (Counts, "running the model changes values of features.1.num_batches_tracked"),
        (AnyLayer, "raise LayerError"),
        (Divides, "every std must be above 0"),
    ],
)
def test_a_broken_backbone_is_found(cls: type[ModelAdapter], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_adapter(cls)


@pytest.mark.parametrize("adapter", tiny_models(), ids=lambda a: a.network)
def test_the_kits_own_backbones_pass(adapter: ModelAdapter) -> None:
    check_adapter(adapter)


# renderers


@dataclass(frozen=True)
class Plain(Renderer):
    """Red for, blue against; grey where there is no evidence."""

    def render(self, image: Image.Image, attribution: Any, scale: Scale, status: Status = Status.ok) -> Image.Image:
        if status != Status.ok:
            return Image.new("RGB", image.size, "gray")
        values = attribution.sum(0) / scale.high
        rgb = np.stack([values.clip(0, 1), np.zeros_like(values), (-values).clip(0, 1)], 2)
        return Image.fromarray((255 * rgb).astype(np.uint8)).resize(image.size)


class Small(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        return super().render(image, attribution, scale, status).resize((8, 8))


class Alpha(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        return super().render(image, attribution, scale, status).convert("RGBA")


class Unsigned(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        return super().render(image, abs(attribution), scale, status)


class DrawsAnything(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        return super().render(image, np.nan_to_num(attribution), Scale(-1, 1))


class Scribbles(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        drawn = super().render(image, attribution, scale, status)
        attribution[:] = 0
        return drawn


class Warns(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        np.float32(1e30) * attribution.astype(np.float32) ** 9
        return super().render(image, attribution, scale, status)


def test_a_renderer_that_keeps_all_promises_passes() -> None:
    check_renderer(Plain)


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Small, "for a photograph of"),
        (Alpha, "mode RGBA, expected RGB"),
        (Unsigned, "a map and its negative look the same"),
        (DrawsAnything, "draws the values of a map that nonfinite"),
        (Scribbles, "writes into the map"),
        (Warns, "raised RuntimeWarning"),
    ],
)
def test_a_broken_renderer_is_found(cls: type[Renderer], said: str) -> None:
    cls.__doc__ = Plain.__doc__
    with pytest.raises(AssertionError, match=said):
        check_renderer(dataclass(frozen=True)(cls)())  # type: ignore[arg-type]
