"""The embedded shapes with a tag planted in some pictures: a shortcut whose place is known exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_framework.core import Dataset, Item, Region, Row, param
from xai_plugins.datasets._drawing import CLASSES, draw
from xai_plugins.datasets._tag import VERSION, Place, tagged
from xai_plugins.datasets.shapes import Shapes

Which = Literal["all", "own", "others", "none"]
OWN = "star"
"""The class whose pictures carry the tag where ``shapes_shortcut`` learnt."""


@dataclass(frozen=True)
class TaggedShapes(Dataset):
    """The pictures of ``shapes``, some of them with a small magenta square, the tag.

    ``shapes_shortcut`` learnt from pictures in which the tag goes with the class star, ``shapes_clean`` from the same
    pictures in which it goes with none. The truth is that of ``shapes`` and the tag as a region labelled ``tag``.
    """

    images: int = param(24, ge=1, le=10_000_000, doc="how many pictures")
    objects: Literal[1, 2, 4] = param(1, doc="shapes in one picture, all of different classes")
    size: int = param(96, ge=96, le=512, doc="side of the picture in pixels")
    seed: int = param(0, ge=0, le=2**63 - 1, doc="another seed, other pictures")
    tag: Which = param("all", doc="which pictures have the tag: own those with label star, others all but those")
    place: Place = param("corner", doc="where the tag is: in a corner, as in training, or moved inside the picture")

    @classmethod
    def example(cls) -> Self:
        """Two pictures."""
        return cls(images=2)

    @property
    def plain(self) -> Shapes:
        """The same pictures without tags."""
        return Shapes(images=self.images, objects=self.objects, size=self.size, seed=self.seed)

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Item:
        item = self.plain[index]
        if not self._has_tag(item.label):
            return item
        drawn, tag = tagged(draw(item.id, self.size, self.objects), item.id, self.place)
        regions = [Region(CLASSES[label], _box(m), m) for label, m in zip(drawn.labels, drawn.masks, strict=True)]
        image = Image.fromarray(drawn.pixels)
        return Item(self._id(item.id), image, item.label, (*regions, Region("tag", _box(tag), tag)))

    def rows(self) -> Iterator[Row]:
        """A picture is identified by what it is drawn from; nothing is drawn here."""
        for row in self.plain.rows():
            if self._has_tag(row.label):
                text = f"tag/{VERSION}/{self.place}/{row.content}"
                yield Row(self._id(row.id), hashlib.sha256(text.encode()).hexdigest(), row.label)
            else:
                yield row

    def fingerprint(self) -> str:
        """The parameters are part of a manifest's name already; how they are drawn is not."""
        return f"{self.plain.fingerprint()}, tag {VERSION}"

    def _has_tag(self, label: object) -> bool:
        return self.tag == "all" or self.tag == ("own" if label == OWN else "others")

    def _id(self, plain: str) -> str:
        return f"{plain}-tag-{self.place}"


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    ys, xs = np.nonzero(mask)
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)
