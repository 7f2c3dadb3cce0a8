"""The first principal component of a layer, position by position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def principal(values: Tensor, centred: bool) -> Tensor:
    """(B,K,h,w) -> (B,1,h,w): each position's vector (K,) projected on the first right singular vector of all (h*w,K).

    The sign of a singular vector is arbitrary: it is turned so that positions whose values sum to more get more.
    Computed in float64.
    """
    batch, _, height, width = values.shape
    vectors = values.double().flatten(2).transpose(1, 2)  # (B,h*w,K)
    used = vectors - vectors.mean(1, keepdim=True) if centred else vectors
    # of the two Gram matrices the smaller: the same projection for a fraction of the work
    if used.shape[1] <= used.shape[2]:
        eigenvalues, eigenvectors = torch.linalg.eigh(used @ used.transpose(1, 2))
        projection = eigenvectors[:, :, -1] * eigenvalues[:, -1:].clamp(min=0).sqrt()
    else:
        _, eigenvectors = torch.linalg.eigh(used.transpose(1, 2) @ used)
        projection = (used @ eigenvectors[:, :, -1:])[..., 0]
    agreement = (projection * vectors.sum(2)).sum(1, keepdim=True)
    turned: Tensor = projection * torch.where(agreement < 0, -1.0, 1.0)
    return turned.view(batch, 1, height, width).to(values)
