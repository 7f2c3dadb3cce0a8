"""XRAI. Kapishnikov, Bolukbasi, Viegas & Terry 2019, arXiv:1906.02825, algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape, param
from xai_plugins.methods._segments import scikit_image
from xai_plugins.methods.integrated_gradients import IntegratedGradients

if TYPE_CHECKING:
    from torch import Tensor

Regions = list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Xrai(Explainer):
    """Regions ranked by the density of their attribution, (B,1,H,W): each pixel has its region's density, in units of
    the score a pixel.

    Algorithm 1: integrated gradients from black and from white, averaged and summed over channels; segmentations of six
    granularities (Felzenszwalb & Huttenlocher 2004), each region widened by ``dilation``; the region that adds most per
    new pixel comes next, until none adds ``fresh`` pixels; what is then left forms the last one. Needs scikit-image.
    """

    steps: int = param(32, ge=1, le=10_000, doc="points on each path of integrated gradients")
    scales: tuple[float, ...] = param((50.0, 100.0, 150.0, 250.0, 500.0, 1200.0), gt=0, doc="granularities")
    smallest: int = param(
        150, ge=1, le=100_000, doc="pixels of the smallest region of a 224 x 224 picture; scaled by area"
    )
    fresh: int = param(50, ge=1, le=100_000, doc="pixels of a 224 x 224 picture that a region must add to be taken")
    dilation: int = param(5, ge=0, le=100, doc="pixels by which regions are widened")

    @classmethod
    def example(cls) -> Self:
        """Few points and regions."""
        return cls(steps=2, scales=(50.0, 150.0), dilation=1)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """Two runs of integrated gradients."""
        return (Ask("gradient", of="path", passes=2 * self.steps, backwards=2 * self.steps),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Attribution, regions, ranking."""
        scikit_image()
        total = inputs.new_zeros(len(inputs), 1, *inputs.shape[2:])
        for name in ("black", "white"):
            method = IntegratedGradients(steps=self.steps, baseline=name, reduce="sum")
            total += method.explain(probe, inputs, targets, rng) / 2
        pixels = probe.pixels(inputs).permute(0, 2, 3, 1).double().cpu().numpy()
        found = [
            ranked(attribution[0], self._regions(picture), self._pixels(self.fresh, picture.shape))
            for attribution, picture in zip(total.double().cpu().numpy(), pixels, strict=True)
        ]
        return torch.from_numpy(np.stack(found))[:, None].to(inputs)

    def _regions(self, picture: NDArray[np.float64]) -> Regions:
        """All regions of all granularities."""
        from skimage.morphology import dilation, disk

        low, high = picture.min(), picture.max()
        picture = (
            2 * (picture - low) / (high - low) - 1 if high > low else 0 * picture
        )  # the range scales are meant for
        smallest = self._pixels(self.smallest, picture.shape)
        regions = []
        for scale in self.scales:
            labels = scikit_image().felzenszwalb(picture, scale=scale, sigma=0.8, min_size=smallest)
            masks = [labels == n for n in np.unique(labels)]
            wide = disk(self.dilation)  # type: ignore[no-untyped-call]
            regions += [dilation(m, wide).astype(bool) if self.dilation else m for m in masks]
        return regions

    @staticmethod
    def _pixels(count: int, shape: tuple[int, ...]) -> int:
        """A number of pixels of a 224 x 224 picture as the same share of this one."""
        return max(1, round(count * shape[0] * shape[1] / 224**2))


def ranked(attribution: NDArray[np.float64], regions: Regions, fresh: int = 1) -> NDArray[np.float64]:
    """(H,W): the density with which each pixel came in, the densest region first.

    A region counts by its pixels that are not yet covered, as long as these are at least ``fresh``; what no region
    covers comes last, together.
    """
    values = attribution.ravel()
    masks = np.stack(regions).reshape(len(regions), -1)
    areas = masks.sum(1)
    sums = np.array([values[m].sum() for m in masks])
    found, free = np.zeros_like(values), np.ones(values.shape, dtype=bool)
    while (areas >= fresh).any():
        density = np.where(areas >= fresh, sums / np.maximum(areas, 1), -np.inf)
        new = np.flatnonzero(masks[np.argmax(density)] & free)
        found[new] = values[new].mean()
        free[new] = False
        areas -= masks[:, new].sum(1)
        sums -= masks[:, new] @ values[new]
    if free.any():
        found[free] = values[free].mean()
    return found.reshape(attribution.shape)
