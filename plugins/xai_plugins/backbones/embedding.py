"""Another backbone up to a layer: its outputs are features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from xai_framework.core import ModelAdapter, Preprocess, param

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Embedding(ModelAdapter):
    """The spatial mean of a layer of another backbone, (B,C), in place of class scores; for ``target=similarity``."""

    caption: ClassVar[str] = "{of}-embedding"

    of: ModelAdapter = param(doc="the backbone whose features are taken")
    features: str = param("last", doc="module path in that backbone, or last")

    def resolved(self) -> Self:
        """With the weights its backbone stands for today."""
        return self.replace(of=self.of.resolved())

    @classmethod
    def example(cls) -> Self:
        """Features of an embedded backbone."""
        from xai_plugins.backbones.shapes import ShapesVgg

        return cls(of=ShapesVgg())

    def load(self) -> nn.Module:
        """The backbone with its features as outputs."""
        from xai_plugins.backbones._pooled import Pooled

        return Pooled(self.of.model, self.of.layer(self.features))

    @property
    def preprocess(self) -> Preprocess:
        """The backbone's own."""
        return self.of.preprocess

    @property
    def labels(self) -> tuple[str, ...]:
        """Features have no names."""
        return ()

    def last_layer(self) -> str:
        """The layer the features are taken from."""
        return f"net.{self.of.layer(self.features).name}"

    def to_grid(self, name: str) -> Callable[[Tensor], Tensor]:
        """As in the backbone."""
        return self.of.to_grid(name.removeprefix("net."))
