"""Parts of a picture: the cells of a grid, or superpixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch

from xai_framework.core import ConfigError, Probe

if TYPE_CHECKING:
    from torch import Tensor

How = Literal["grid", "slic"]
Fill = Literal["mean", "black", "white", "blur"]


def segment(probe: Probe, inputs: Tensor, how: How, cells: int) -> Tensor:
    """(B,H,W) int64: the number of each pixel's part, from 0.

    ``grid``: cells x cells rectangles, row by row. ``slic``: about as many superpixels (Achanta et al. 2012).
    """
    height, width = inputs.shape[2:]
    if how == "slic":
        return _superpixels(probe, inputs, cells * cells)
    y, x = (torch.arange(n, device=inputs.device) * cells // n for n in (height, width))
    return (y[:, None] * cells + x).expand(len(inputs), height, width)


def scikit_image() -> Any:  # noqa: ANN401 - the module
    """skimage.segmentation, or ConfigError."""
    try:
        from skimage import segmentation
    except ImportError:
        raise ConfigError(
            "scikit-image is not installed", where="segments", fix='pip install "xai-framework[segments]"'
        ) from None
    return segmentation


def _superpixels(probe: Probe, inputs: Tensor, count: int) -> Tensor:
    pixels = probe.pixels(inputs).permute(0, 2, 3, 1).double().cpu().numpy()
    found = [scikit_image().slic(p, n_segments=count, compactness=10, start_label=0) for p in pixels]
    return torch.stack([torch.from_numpy(f) for f in found]).long().to(inputs.device)


def equally_many(labels: Tensor, how: How, cells: int) -> Iterator[tuple[Tensor, int]]:
    """The rows of pictures that have equally many parts, and how many they have.

    Superpixels differ in number; what is drawn for a picture must not depend on how many its mates have.
    """
    if how == "grid":
        yield torch.arange(len(labels)), cells * cells
        return
    counts = labels.flatten(1).amax(1).cpu() + 1
    for parts in counts.unique().tolist():
        yield (counts == parts).nonzero()[:, 0], parts


def per_segment(values: Tensor, labels: Tensor, how: How, cells: int) -> Tensor:
    """One value a part (B,M) as a map: (B,1,cells,cells) for a grid, (B,1,H,W) for superpixels."""
    if how == "grid":
        return values.view(-1, 1, cells, cells)
    return values.gather(1, labels.flatten(1)).view(len(labels), 1, *labels.shape[1:])
