"""Where the model's input lies in the photograph: carries boxes, masks and maps both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_framework.core.dataset import Box


@dataclass(frozen=True)
class Geometry:
    """An axis-aligned view of the upright photograph, resampled to the model's input.

    ``image_size`` is (height, width) of the photograph, ``input_size`` (height, width) of the input, ``view`` the part
    of the photograph that became the input, as (x0, y0, x1, y1) in photograph pixels. A view may reach beyond the
    photograph (padding).
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    view: Box

    @property
    def scale(self) -> tuple[float, float]:
        """Input pixels per photograph pixel, (x, y)."""
        x0, y0, x1, y1 = self.view
        return self.input_size[1] / (x1 - x0), self.input_size[0] / (y1 - y0)

    def box_to_input(self, box: Box) -> Box | None:
        """A photograph box in input pixels, clipped to the input; None where nothing of it is visible."""
        (sx, sy), (x0, y0, _, _), (h, w) = self.scale, self.view, self.input_size
        left, right = ((box[0] - x0) * sx, (box[2] - x0) * sx)
        top, bottom = ((box[1] - y0) * sy, (box[3] - y0) * sy)
        clipped = (max(left, 0.0), max(top, 0.0), min(right, float(w)), min(bottom, float(h)))
        return clipped if clipped[2] > clipped[0] and clipped[3] > clipped[1] else None

    def box_to_image(self, box: Box) -> Box:
        """An input box in photograph pixels."""
        (sx, sy), (x0, y0, _, _) = self.scale, self.view
        return (box[0] / sx + x0, box[1] / sy + y0, box[2] / sx + x0, box[3] / sy + y0)

    def mask_to_input(self, mask: NDArray[Any]) -> NDArray[np.bool_]:
        """A photograph mask (H,W) on the input's pixels; a pixel is inside where at least half of it is."""
        picture = Image.fromarray(np.asarray(mask, dtype=np.float32))
        return np.asarray(self.picture_to_input(picture)) >= 0.5

    def picture_to_input(self, picture: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
        """The photograph as the model sees it, at ``size`` (height, width) or the input's; black beyond the edges."""
        height, width = size or self.input_size
        x0, y0, x1, y1 = self.view
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(picture.width)), min(y1, float(picture.height)))
        if box == self.view:
            return picture.resize((width, height), Image.Resampling.BILINEAR, box=box)
        sx, sy = width / (x1 - x0), height / (y1 - y0)
        inside = (
            round((box[0] - x0) * sx),
            round((box[1] - y0) * sy),
            round((box[2] - x0) * sx),
            round((box[3] - y0) * sy),
        )
        out = Image.new(picture.mode, (width, height))
        part = (max(inside[2] - inside[0], 1), max(inside[3] - inside[1], 1))
        out.paste(picture.resize(part, Image.Resampling.BILINEAR, box=box), inside[:2])
        return out

    def map_to_image(self, attribution: NDArray[Any]) -> NDArray[np.float32]:
        """A map (h,w) on the whole photograph (H,W), bilinear; NaN outside the view."""
        height, width = self.image_size
        x0, y0, x1, y1 = self.view
        rows = (np.arange(height) + 0.5 - y0) / (y1 - y0) * attribution.shape[0] - 0.5
        columns = (np.arange(width) + 0.5 - x0) / (x1 - x0) * attribution.shape[1] - 0.5
        out = _sample(np.asarray(attribution, dtype=np.float32), rows, columns)
        ys, xs = np.arange(height) + 0.5, np.arange(width) + 0.5
        out[(ys < y0) | (ys > y1), :] = np.nan
        out[:, (xs < x0) | (xs > x1)] = np.nan
        return out


def _sample(values: NDArray[np.float32], rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.float32]:
    """Bilinear samples of (h,w) at fractional rows x columns, edges repeated."""
    for axis, where in ((0, rows), (1, columns)):
        at = np.clip(where, 0, values.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = (at - low).astype(np.float32)
        part = part[:, None] if axis == 0 else part[None, :]
        values = np.take(values, low, axis) * (1 - part) + np.take(values, high, axis) * part
    return values
