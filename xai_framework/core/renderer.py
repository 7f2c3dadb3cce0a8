"""Maps as pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.maps import Status
from xai_framework.core.plugin import Plugin

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Scale:
    """The values at the two ends of a colour map. Signed scales are symmetric: low == -high."""

    low: float
    high: float

    @classmethod
    def of(cls, *attributions: NDArray[Any], percentile: float = 100.0) -> Self:
        """One scale for all given maps (share it per method, or make one per map).

        Channels are summed first. With values on both sides of 0 the scale is symmetric, else it starts at 0.
        ``percentile`` < 100 lets the largest magnitudes saturate. A scale of nothing but zeros is (0, 0).
        """
        values = [flat(a)[np.isfinite(flat(a))].ravel() for a in attributions]
        together = np.concatenate(values) if values else np.zeros(0)
        top = float(np.percentile(np.abs(together), percentile)) if together.size else 0.0
        low, high = (float(together.min()), float(together.max())) if together.size else (0.0, 0.0)
        return cls(-top if low < 0 else 0.0, top if high > 0 else 0.0) if low >= 0 or high <= 0 else cls(-top, top)

    @property
    def signed(self) -> bool:
        """Whether there is evidence on both sides of zero."""
        return self.low < 0 < self.high


def flat(attribution: NDArray[Any]) -> NDArray[Any]:
    """(C,h,w) or (h,w) -> (h,w): channels summed, sign kept."""
    return attribution.sum(0) if attribution.ndim == 3 else attribution


class Renderer(Plugin, ABC):
    """Draws a raw map. Imports no torch: pages are made without it."""

    kind: ClassVar[str] = "renderer"

    @abstractmethod
    def render(self, image: Image, attribution: NDArray[Any], scale: Scale, status: Status = Status.ok) -> Image:
        """An RGB picture the size of ``image``.

        ``image`` is the photograph as the model saw it, ``attribution`` (C,h,w) raw. A map without evidence (status
        other than ok) must not look like a heat map.
        """
