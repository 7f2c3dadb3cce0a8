"""Maps as pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.plugin import Plugin
from xai_framework.core.status import Status

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Scale:
    """The values at the two ends of a colour map, in the units of the map.

    A signed scale holds evidence for and against; its neutral colour stands at 0. Any other starts at 0.
    """

    low: float
    high: float

    @classmethod
    def of(cls, *attributions: NDArray[Any], percentile: float = 100.0) -> Self:
        """One scale for all given maps (share it per method, or make one per map).

        Channels are summed first; values that are not finite are left out. With any value below 0 the scale is
        symmetric, low == -high, else it starts at 0. ``percentile`` < 100 lets the largest magnitudes saturate. A
        scale of nothing but zeros is (0, 0).
        """
        drawn = [flat(a).ravel() for a in attributions]
        together = np.concatenate(drawn) if drawn else np.zeros(0)
        together = together[np.isfinite(together)]
        if not together.any():
            return cls(0.0, 0.0)
        size = np.abs(together)
        # a sparse map may be zero up to its 99th percentile: it still has evidence
        top = float(np.percentile(size, percentile)) or float(size.max())
        return cls(-top if float(together.min()) < 0 else 0.0, top)

    @property
    def signed(self) -> bool:
        """Whether there is evidence against: such maps are drawn with a diverging colour map."""
        return self.low < 0

    @property
    def empty(self) -> bool:
        """Whether there is no evidence at all to be scaled."""
        return self.low == self.high


def flat(attribution: NDArray[Any]) -> NDArray[np.float64]:
    """(C,h,w) or (h,w) -> (h,w), float64: channels summed, sign kept."""
    # infinities of both signs meet as NaN: the map is not finite either way, and its status says so
    with np.errstate(invalid="ignore", over="ignore"):
        summed = attribution.sum(0, dtype=np.float64) if attribution.ndim == 3 else attribution
    return np.asarray(summed, dtype=np.float64)


class Renderer(Plugin, ABC):
    """Draws a raw map. Imports no torch: pages are made without it."""

    kind: ClassVar[str] = "renderer"

    @abstractmethod
    def render(self, image: Image, attribution: NDArray[Any], scale: Scale, status: Status = Status.ok) -> Image:
        """An RGB picture the size of ``image``; one that shows several pictures side by side is larger.

        ``image`` is the photograph as the model saw it, ``attribution`` (C,h,w) raw. A map without evidence (status
        other than ok) must not look like a heat map.
        """
