"""Gaussian blur of inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def blur(inputs: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B,C,H,W), edges reflected, kernel cut at 3 sigma."""
    import torch
    import torch.nn.functional as F

    for axis in (2, 3):
        radius = min(max(1, round(3 * sigma)), inputs.shape[axis] - 1)
        x = torch.arange(-radius, radius + 1, dtype=inputs.dtype, device=inputs.device)
        kernel = torch.exp(-0.5 * (x / sigma) ** 2)
        kernel = (kernel / kernel.sum()).expand(inputs.shape[1], 1, -1)
        kernel, pad = (
            (kernel[..., None], (0, 0, radius, radius)) if axis == 2 else (kernel[:, :, None], (radius, radius, 0, 0))
        )
        inputs = F.conv2d(F.pad(inputs, pad, mode="reflect"), kernel, groups=inputs.shape[1])
    return inputs
