"""The map alone, as colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from PIL.Image import Image

from xai_framework.core import Scale, Status
from xai_plugins.renderers._common import Coloured, evidence, without_evidence


@dataclass(frozen=True)
class Heatmap(Coloured):
    """The map alone, the size of the photograph: channels summed, resized, coloured by the scale."""

    def render(self, image: Image, attribution: NDArray[Any], scale: Scale, status: Status = Status.ok) -> Image:
        """(C,h,w) -> RGB, the size of ``image``."""
        found = evidence(attribution, scale, status)
        return without_evidence(image, found) if found else self.heat(image.size, attribution, scale)
