"""Every channel of a map as a picture of its own, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL.Image import Image

from xai_framework.core import Scale, Status, param
from xai_plugins.renderers._common import Coloured, evidence, without_evidence


@dataclass(frozen=True)
class Strip(Coloured):
    """The channels in a row, each on its own scale and the size of the photograph: snapshots of a sampled method."""

    gap: int = param(4, ge=0, le=100, doc="pixels between two channels")

    def render(self, image: Image, attribution: NDArray[Any], scale: Scale, status: Status = Status.ok) -> Image:
        """(C,h,w) -> RGB, C times as wide as ``image``."""
        found = evidence(attribution, scale, status)
        if found:
            return without_evidence(image, found)
        width, height = image.size
        sheet = Pictures.new("RGB", (len(attribution) * (width + self.gap) - self.gap, height), "white")
        for i, channel in enumerate(attribution):
            own = Scale.of(channel[None]) if channel.any() else scale
            sheet.paste(self.heat(image.size, channel[None], own), (i * (width + self.gap), 0))
        return sheet
