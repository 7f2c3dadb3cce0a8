"""Photograph -> input tensor, declared once per backbone; travels with the weights, overridable from a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_framework.core.errors import ImageError
from xai_framework.core.geometry import Geometry

if TYPE_CHECKING:
    from torch import Tensor

Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop, channel order, range, mean and standard deviation, in that order.

    ``resize``: an int resizes the shorter side to it (aspect ratio kept), a pair (height, width) resizes exactly.
    ``crop``: centre crop (height, width) of the resized picture, zero-padded where it is smaller.
    ``order``: ``rgb``, ``bgr`` or ``gray`` (one channel, ITU-R 601 luma); arrays keep their own channels.
    ``range``: the value of white before mean and std are applied, 1 or 255.
    The input is (pixel * range - mean) / std with pixels in [0,1]; mean and std are per channel, in model order.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    filter: Filter = "bilinear"
    order: Literal["rgb", "bgr", "gray"] = "rgb"
    range: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    @property
    def channels(self) -> int:
        """Channels of the input tensor."""
        return 1 if self.order == "gray" else len(self.mean)

    def geometry(self, image_size: tuple[int, int]) -> Geometry:
        """Where the input lies in a photograph of (height, width)."""
        height, width = self._resized(image_size)
        crop = self.crop or (height, width)
        # the same rounding as torchvision's resize and centre crop, so that pretrained accuracy holds
        top, left = round((height - crop[0]) / 2.0), round((width - crop[1]) / 2.0)
        sy, sx = image_size[0] / height, image_size[1] / width
        return Geometry(image_size, crop, (left * sx, top * sy, (left + crop[1]) * sx, (top + crop[0]) * sy))

    def pixels(self, image: Image.Image | NDArray[Any]) -> tuple[NDArray[np.float32], Geometry]:
        """A photograph as (C,H,W) pixels in [0,1], resized and cropped, in model channel order.

        Raises ImageError where the picture does not fit (channel count, non-finite or unscaled values, too extreme).
        """
        planes = self._planes(image)
        size = (planes[0].height, planes[0].width)
        geometry = self.geometry(size)
        height, width = self._resized(size)
        if height * width > 64 * max(1, geometry.input_size[0] * geometry.input_size[1]) + (1 << 24):
            raise ImageError(
                f"a {size[1]}x{size[0]} picture would be resized to {width}x{height}",
                fix="crop it, or resize it exactly (a pair of numbers)",
            )
        resample = Image.Resampling[self.filter.upper()]
        done = [_crop(_resize(p, (width, height), resample), geometry.input_size) for p in planes]
        arrays = [np.asarray(p, dtype=np.float32) / (255.0 if p.mode in ("RGB", "L") else 1.0) for p in done]
        stacked = np.concatenate([a if a.ndim == 3 else a[..., None] for a in arrays], axis=2).transpose(2, 0, 1)
        return np.ascontiguousarray(stacked[::-1] if self.order == "bgr" else stacked), geometry

    def normalise(self, pixels: Tensor) -> Tensor:
        """(..., C,H,W) pixels in [0,1] -> the model's input."""
        mean, std = self._statistics(pixels)
        return (pixels * self.range - mean) / std

    def denormalise(self, inputs: Tensor) -> Tensor:
        """The inverse of :meth:`normalise` (not clipped)."""
        mean, std = self._statistics(inputs)
        return (inputs * std + mean) / self.range

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (self.channels, 1, 1)
        return like.new_tensor(self.mean[: self.channels]).view(shape), like.new_tensor(self.std[: self.channels]).view(
            shape
        )

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        height, width = size
        if self.resize is None:
            return size
        if not isinstance(self.resize, int):
            return self.resize
        short, long = sorted(size)
        other = max(1, int(self.resize * long / short))
        return (self.resize, other) if height <= width else (other, self.resize)

    def _planes(self, image: Image.Image | NDArray[Any]) -> list[Image.Image]:
        """The picture as Pillow images: one RGB or L picture, or one float plane a channel."""
        if isinstance(image, Image.Image):
            wanted = "L" if self.order == "gray" else "RGB"
            if self.channels not in (1, 3):
                raise ImageError(f"is a photograph, but the backbone takes {self.channels} channels")
            return [image if image.mode == wanted else image.convert(wanted)]
        array = np.asarray(image)
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or array.shape[2] != self.channels:
            raise ImageError(
                f"has shape {array.shape}, the backbone takes (height, width, {self.channels})",
                fix="give channels last; the channel count must be the backbone's",
            )
        if array.dtype == np.uint8:
            array = array.astype(np.float32) / 255.0
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ImageError("contains NaN or infinite values")
        low, high = float(array.min(initial=0.0)), float(array.max(initial=0.0))
        if low < 0.0 or high > 1.0:
            raise ImageError(
                f"has values from {low:.3g} to {high:.3g}; arrays must lie in [0,1] (uint8 in 0..255)",
                fix="give the picture before normalisation; the backbone's preprocessing normalises",
            )
        return [Image.fromarray(np.ascontiguousarray(array[..., c])) for c in range(array.shape[2])]


def _resize(plane: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    return plane if plane.size == size else plane.resize(size, resample)


def _crop(plane: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Centre crop to (height, width); Pillow pads with zeros where the picture is smaller."""
    height, width = size
    if (plane.height, plane.width) == size:
        return plane
    top, left = round((plane.height - height) / 2.0), round((plane.width - width) / 2.0)
    return plane.crop((left, top, left + width, top + height))
