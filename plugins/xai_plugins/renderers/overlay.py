"""The map laid over its photograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from PIL import ImageOps
from PIL.Image import Image, blend

from xai_framework.core import Scale, Status, param
from xai_plugins.renderers._common import Coloured, evidence, without_evidence


@dataclass(frozen=True)
class Overlay(Coloured):
    """The map over its photograph: ``opacity`` times the colours, the rest the photograph."""

    opacity: float = param(0.6, ge=0.0, le=1.0, doc="share of the map's colours; 0 is the photograph, 1 the map alone")
    grey: bool = param(False, doc="show the photograph in grey, so that all colour comes from the map")

    def render(self, image: Image, attribution: NDArray[Any], scale: Scale, status: Status = Status.ok) -> Image:
        """(C,h,w) -> RGB, the size of ``image``."""
        found = evidence(attribution, scale, status)
        if found:
            return without_evidence(image, found)
        photograph = (ImageOps.grayscale(image) if self.grey else image).convert("RGB")
        return blend(photograph, self.heat(image.size, attribution, scale), self.opacity)
