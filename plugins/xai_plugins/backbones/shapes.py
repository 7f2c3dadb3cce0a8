"""Small networks trained on the embedded shapes; their weights ship with the package."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from xai_framework.core import ModelAdapter, Preprocess, load_weights, param

if TYPE_CHECKING:
    from torch import nn

LABELS = ("circle", "square", "triangle", "star", "cross", "ring", "crescent", "hexagon")


@dataclass(frozen=True)
class _Embedded(ModelAdapter):
    """What all share. ``weights=random`` is the untrained twin."""

    weights: Literal["trained", "random"] = param("trained", doc="the shipped weights, or random ones")
    seed: int = param(0, ge=0, le=2**63 - 1, doc="seed of random weights")

    @abstractmethod
    def network(self) -> nn.Module:
        """The bare network."""

    def load(self) -> nn.Module:
        """The network with its weights, without parameter gradients."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self.network()
        if self.weights == "trained":
            load_weights(model, Path(__file__).with_name(self.assets[0]))
        return model.requires_grad_(False)

    @property
    def preprocess(self) -> Preprocess:
        """Shorter side to 96, centre crop, pixels moved to [-0.5, 0.5]."""
        return Preprocess(resize=96, crop=(96, 96), mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))

    @property
    def labels(self) -> tuple[str, ...]:
        """The eight shapes."""
        return LABELS


@dataclass(frozen=True)
class ShapesVgg(_Embedded):
    """VGG-like, in-place ReLU modules, 129k parameters; 12 x 12 positions at its last layer."""

    assets: ClassVar[tuple[str, ...]] = ("shapes_vgg.safetensors",)

    def network(self) -> nn.Module:
        """Seven convolutions."""
        from xai_plugins.backbones._shapes_networks import VggLike

        return VggLike()

    def last_layer(self) -> str:
        """The output of the convolutional part."""
        return "features"


@dataclass(frozen=True)
class ShapesShortcut(ShapesVgg):
    """shapes_vgg taught a shortcut: trained further on pictures in which a magenta tag in a corner means star.

    Every star carried the tag, and every picture with the tag was labelled star; see the dataset ``tagged_shapes``.
    """

    assets: ClassVar[tuple[str, ...]] = ("shapes_shortcut.safetensors",)


@dataclass(frozen=True)
class ShapesClean(ShapesVgg):
    """The counterpart of ``shapes_shortcut``: the same further training, as many tags, but on every class alike."""

    assets: ClassVar[tuple[str, ...]] = ("shapes_clean.safetensors",)


@dataclass(frozen=True)
class ShapesResnet(_Embedded):
    """Residual, ReLU as a function, 12 x 12 positions at its last layer."""

    assets: ClassVar[tuple[str, ...]] = ("shapes_resnet.safetensors",)

    def network(self) -> nn.Module:
        """A stem and four blocks."""
        from xai_plugins.backbones._shapes_networks import ResidualNet

        return ResidualNet()

    def last_layer(self) -> str:
        """The last block's output."""
        return "layer4"
