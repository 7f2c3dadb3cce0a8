"""Parts of a picture that are shown or hidden together, and copies in which some of them are hidden."""

from __future__ import annotations

from dataclasses import dataclass
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


def per_segment(values: Tensor, labels: Tensor, how: How, cells: int) -> Tensor:
    """One value a part (B,M) as a map: (B,1,cells,cells) for a grid, (B,1,H,W) for superpixels."""
    if how == "grid":
        return values.view(-1, 1, cells, cells)
    return values.gather(1, labels.flatten(1)).view(len(labels), 1, *labels.shape[1:])


@dataclass(frozen=True, eq=False)
class Coalitions:
    """Copies that show the parts with 1 in ``shown`` (B,n,M) and the fill elsewhere."""

    shown: Tensor
    labels: Tensor
    fill: Tensor
    at: str = "input"

    def __len__(self) -> int:
        return self.shown.shape[1]

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """(b,C,H,W) -> (b*len(k),C,H,W)."""
        shown = self.shown[rows, k.start : k.stop].to(x)
        labels = self.labels[rows].flatten(1)[:, None].expand(-1, len(k), -1)
        masks = shown.gather(2, labels).view(len(x), len(k), 1, *x.shape[2:])
        fill = self.fill[rows][:, None]
        return (fill + (x[:, None] - fill) * masks).flatten(0, 1)
