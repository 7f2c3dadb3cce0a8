"""Procedural pictures with exact ground truth: no files, no download."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from PIL import Image

from xai_framework.core import Dataset, Item, Region, Row, param
from xai_plugins.datasets._drawing import CLASSES, VERSION, draw, labels_of


@dataclass(frozen=True)
class Shapes(Dataset):
    """Textured backgrounds with one, two or four shapes of 8 classes at random place, size, colour and rotation.

    Every picture is a function of (seed, number, size, objects) alone. The truth is one region a shape with its
    visible mask; the label is the first shape's class.
    """

    images: int = param(24, ge=1, le=10_000_000, doc="how many pictures")
    objects: Literal[1, 2, 4] = param(1, doc="shapes in one picture, all of different classes")
    size: int = param(96, ge=96, le=512, doc="side of the picture in pixels")
    seed: int = param(0, ge=0, le=2**63 - 1, doc="another seed, other pictures")

    @classmethod
    def example(cls) -> Self:
        """Two pictures."""
        return cls(images=2)

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Item:
        name = self._id(index)
        drawn = draw(name, self.size, self.objects)
        regions = []
        for label, mask in zip(drawn.labels, drawn.masks, strict=True):
            ys, xs = np.nonzero(mask)
            box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
            regions.append(Region(CLASSES[label], box, mask))
        return Item(name, Image.fromarray(drawn.pixels), CLASSES[drawn.labels[0]], tuple(regions))

    def rows(self) -> Iterator[Row]:
        """A picture is identified by what it is drawn from; nothing is drawn here."""
        for i in range(self.images):
            name = self._id(i)
            content = hashlib.sha256(f"shapes/{VERSION}/{name}".encode()).hexdigest()
            yield Row(name, content, CLASSES[labels_of(name, self.objects)[0]])

    def fingerprint(self) -> str:
        """The parameters are part of a manifest's name already; how they are drawn is not."""
        return f"drawing {VERSION}"

    def _id(self, index: int) -> str:
        """Everything a picture depends on, as one name."""
        if not 0 <= index < self.images:
            raise IndexError(index)
        return f"shapes-{self.objects}x{self.size}-s{self.seed}-{index:06d}"
