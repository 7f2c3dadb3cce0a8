"""Small networks in the styles that break attribution tools: in-place ReLU, functions, sums in place, reuse, tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from xai_framework.core import param
from xai_framework.core.adapter import ModelAdapter, keep_grid
from xai_framework.core.preprocess import Preprocess

CLASSES = ("ant", "bee", "cow", "dog", "elk")


class VggLike(nn.Module):
    """Convolution, batch norm and ReLU modules; ``last`` is the batch norm that an in-place ReLU overwrites."""

    last = "features.5"

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace),
            nn.Dropout(0.5),
        )
        self.classifier = nn.Linear(8, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,H,W) -> (B,5)."""
        out: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return out


class Residual(nn.Module):
    """ReLU as a function; ``last`` is the batch norm that the shortcut is added to in place."""

    last = "bn2"

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.inplace = inplace
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,H,W) -> (B,5)."""
        x = F.relu(self.bn1(self.stem(x)), inplace=self.inplace)
        out: Tensor = self.bn2(self.conv(x))
        if self.inplace:
            out += x
        else:
            out = out + x
        out = self.fc(F.relu(out, inplace=self.inplace).mean((2, 3)))
        return out


class Reused(nn.Module):
    """One ReLU and one convolution used several times, inputs changed in place, logits in a tuple."""

    last = "head"

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.inplace = inplace
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.act = nn.ReLU(inplace)
        self.head = nn.Conv2d(6, 7, 1)
        self.fc = nn.Linear(7, len(CLASSES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B,3,H,W) -> (B,5) and the features."""
        x = x.mul_(0.5) if self.inplace else x * 0.5
        x = self.act(self.stem(x))
        x = self.act(self.again(self.act(self.again(x))))
        features = self.act(self.head(x))
        return self.fc(features.mean((2, 3))), features


def vit(_inplace: bool) -> nn.Module:
    """A class token and 4 x 4 patches; works nowhere in place."""
    model: nn.Module = VisionTransformer(
        image_size=16, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=len(CLASSES)
    )
    # torchvision starts the head at 0: nothing could be explained
    for name, std in (("heads.head.weight", 0.5), ("class_token", 1.0), ("encoder.pos_embedding", 0.5)):
        nn.init.normal_(model.get_parameter(name), std=std)
    return model


def swin(_inplace: bool) -> nn.Module:
    """8 x 8 patches in windows of 4 x 4, also shifted ones; the last stage's window is its whole grid."""
    model: nn.Module = SwinTransformer(
        patch_size=[2, 2], embed_dim=4, depths=[2, 1], num_heads=[1, 2], window_size=[4, 4], num_classes=len(CLASSES)
    )
    return model


Network = Literal["vgg_like", "residual", "reused", "vit", "swin"]
NETWORKS: dict[Network, Callable[[bool], nn.Module]] = {
    "vgg_like": VggLike,
    "residual": Residual,
    "reused": Reused,
    "vit": vit,
    "swin": swin,
}
# the output of the last block of a ViT bears on the class only through its class token
_LAST = {"vit": "encoder.layers.encoder_layer_1.ln_1", "swin": "features.3"}


@dataclass(frozen=True)
class TinyAdapter(ModelAdapter):
    """A backbone of the kit: 16 x 16 inputs, five classes, random weights of a fixed seed. Not registered."""

    network: Network = param("vgg_like", doc="which of the networks of this module")
    inplace: bool = param(True, doc="whether it works in place")

    def load(self) -> nn.Module:
        """The network, with batch norm statistics that are not the identity."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = NETWORKS[self.network](self.inplace)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean = 0.1 * torch.randn(module.num_features)
                    module.running_var = 0.5 + torch.rand(module.num_features)
        return model

    @property
    def preprocess(self) -> Preprocess:
        """To 16 x 16, pixels moved to [-2, 2]."""
        return Preprocess(resize=16, crop=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

    @property
    def labels(self) -> tuple[str, ...]:
        """Five animals."""
        return CLASSES

    def last_layer(self) -> str:
        """A layer whose output the network overwrites, where it has one."""
        return str(_LAST.get(self.network) or self.model.last)

    def to_grid(self, name: str) -> Callable[[Tensor], Tensor]:
        """Tokens without the class token, and channels last, become a grid."""
        if self.network == "vit" and name.startswith("encoder"):
            return lambda tokens: tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
        if self.network == "swin" and name.startswith(("features", "norm")):
            return lambda grid: grid.permute(0, 3, 1, 2)
        return keep_grid

    def twin(self) -> TinyAdapter:
        """The same network and weights without any operation in place."""
        twin = TinyAdapter(self.network, inplace=False)
        twin.model.load_state_dict(self.model.state_dict())
        return twin


def tiny_models() -> tuple[TinyAdapter, ...]:
    """The networks methods are checked on."""
    return tuple(TinyAdapter(name) for name in NETWORKS)


def name_of(adapter: ModelAdapter) -> str:
    """How a backbone is called in what a check says."""
    return adapter.network if isinstance(adapter, TinyAdapter) else type(adapter).__name__
