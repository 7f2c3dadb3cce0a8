"""What metrics of localisation share: the pixels a map is judged against, and the images that cannot be judged."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from xai_framework.core import Case, Metric, Region, Sign, did_you_mean, param
from xai_plugins.metrics._heat import warm, where

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Localisation(Metric, ABC):
    """A share, 1 being best, judged against the regions of the explained class, or against those of one label.

    Of a region that no class should depend on (a tag, a watermark) much is bad news of the model and no merit of the
    map: with ``wanted=false`` the metric only says how much of the map it is, and tables call no method better.
    """

    family: ClassVar[Literal["localisation"]] = "localisation"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_truth: ClassVar[bool] = True

    region: str | None = param(None, doc="label of the regions that count; null: those of the explained class")
    wanted: bool = param(True, doc="heat in these regions speaks for a map; false, as for a tag: it is only told")

    @property
    def judges(self) -> bool:
        """Unless the regions are such that much heat there is no merit."""
        return self.wanted

    def locate(self, case: Case, sign: Sign) -> Located:
        """See :func:`locate`; of the regions that count here."""
        return locate(case if self.region is None else named(case, self.region), sign)


@dataclass(frozen=True, eq=False)
class Located:
    """Heat and regions by pixel: ``heat`` (B,n) float64, ``inside`` (B,n) bool, ``usable`` (B,) bool."""

    heat: Tensor
    inside: Tensor
    usable: Tensor

    @property
    def size(self) -> Tensor:
        """(B,) float64: pixels of the regions."""
        return self.inside.sum(1, dtype=torch.float64)

    def values(self, numbers: Tensor) -> Tensor:
        """(B,) float64: the numbers of images that can be judged, NaN for the others."""
        return where(self.usable, numbers)


def locate(case: Case, sign: Sign) -> Located:
    """The heat and the own regions of every image; says why where there is none of either."""
    masks = [case.own_mask(i) for i in range(len(case.inputs))]
    for i, mask in enumerate(masks):
        if mask is None:
            case.undefined(i, _why_nowhere(case, i))
    heat, usable = warm(case, sign)
    nowhere = heat.new_zeros(heat.shape[1], dtype=torch.bool)
    inside = torch.stack([nowhere if mask is None else mask.flatten() for mask in masks])
    return Located(heat, inside, usable & inside.any(1))


def hits(order: Tensor, inside: Tensor) -> Tensor:
    """(B,n) float64: how many of the first 1, 2, ... pixels of ``order`` lie inside."""
    return inside.gather(1, order).cumsum(1, dtype=torch.float64)


def everywhere(case: Case) -> Case:
    """The case in which every region belongs to the explained class."""
    return replace(case, truth=[tuple(Region(None, r.box, r.mask) for r in regions) for regions in case.truth])


def named(case: Case, label: str) -> Case:
    """The case in which the regions of this label belong to the explained class, and no others."""
    truth = [tuple(Region(None, r.box, r.mask) for r in regions if str(r.label) == label) for regions in case.truth]
    for i, (kept, regions) in enumerate(zip(truth, case.truth, strict=True)):
        if regions and not kept:
            labels = sorted({str(r.label) for r in regions if r.label is not None})
            case.undefined(i, f"the picture has no region {label!r}; {did_you_mean(label, labels)}")
    return replace(case, truth=truth)


def _why_nowhere(case: Case, image: int) -> str:
    if not case.truth[image]:
        return "the picture has no regions"
    if case.own_regions(image):
        return "no region of the explained class lies in the model's input"
    if case.classes[image] < 0:
        return "the target is no class, and every region is of one"
    return "the picture has no region of the explained class"
