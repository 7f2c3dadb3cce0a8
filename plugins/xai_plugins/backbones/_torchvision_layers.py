"""How the layers of torchvision's families lie on the picture, and their first layer for grey pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from math import isqrt
from typing import TYPE_CHECKING, NoReturn

from xai_framework.core import LayerError, keep_grid

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST_EXTRA_TOKENS = 8  # more is no class token with registers
_CHANNELS_FIRST_IN_SWIN = ("features.0.0", "permute", "avgpool")
_CHANNELS_LAST_IN_CONVNEXT = re.compile(r"features\.\d+\.\d+\.block\.[1-5]")
_WINDOWS_IN_MAXVIT = re.compile(r"blocks\.\d+\.layers\.\d+\.layers\.(window|grid)_attention\..+")


def is_vit(arch: str) -> bool:
    """Whether the architecture is a plain vision transformer: tokens instead of a grid."""
    return arch.startswith("vit_")


def last_of_vit(model: nn.Module) -> str:
    """The last block's first norm.

    The output of the last block bears on the class only through the class token: its patches have no gradient.
    """
    blocks = [name for name, _ in model.get_submodule("encoder.layers").named_children()]
    return f"encoder.layers.{blocks[-1]}.ln_1"


def grid_of(arch: str, name: str) -> Callable[[Tensor], Tensor]:
    """How the output of module ``name`` becomes (B,C,h,w). The function raises LayerError where it cannot."""
    if is_vit(arch) and name.startswith("encoder"):
        return partial(_patches, name)
    if arch.startswith("swin_"):
        if ".cpb_mlp" in name:
            return partial(_no_picture, name, "last or features.K")
        return keep_grid if name in _CHANNELS_FIRST_IN_SWIN else partial(_channels_first, name)
    if arch.startswith("convnext_") and _CHANNELS_LAST_IN_CONVNEXT.fullmatch(name):
        return partial(_channels_first, name)
    if arch.startswith("maxvit_") and _WINDOWS_IN_MAXVIT.fullmatch(name):
        return partial(_no_picture, name, "last, blocks.K or blocks.K.layers.J.layers.grid_attention")
    return keep_grid


def grey_stem(model: nn.Module) -> None:
    """The first convolution takes one channel instead of three, with new random weights."""
    from torch import nn

    name, old = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        1,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, new)


def _patches(name: str, tokens: Tensor) -> Tensor:
    """(B, extra + h*w, C) -> (B,C,h,w), without the tokens in front: the class token, and registers where there are."""
    side = isqrt(tokens.shape[1]) if tokens.ndim == 3 else 0
    extra = tokens.shape[1] - side * side if side else 0
    if not side or extra > _MOST_EXTRA_TOKENS:
        raise LayerError(
            f"layer {name!r} gives {tuple(tokens.shape)}, which is no class token and square grid of patches",
            fix="choose last, encoder.layers.encoder_layer_K or its ln_1",
        )
    return tokens[:, extra:].transpose(1, 2).reshape(len(tokens), -1, side, side)


def _channels_first(name: str, tensor: Tensor) -> Tensor:
    """(B,h,w,C) -> (B,C,h,w)."""
    if tensor.ndim != 4:
        raise LayerError(
            f"layer {name!r} gives {tuple(tensor.shape)}, which is no grid (batch, height, width, channels)",
            fix="choose last, features.K or features.K.J",
        )
    return tensor.permute(0, 3, 1, 2)


def _no_picture(name: str, instead: str, tensor: Tensor) -> NoReturn:
    raise LayerError(
        f"layer {name!r} gives {tuple(tensor.shape)}, whose positions are not those of the picture",
        fix=f"choose {instead}",
    )
