"""Pictures of several classes put together: where the evidence for one of them must lie is known without annotation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from PIL import Image, ImageOps

from xai_framework.core import ConfigError, Dataset, ImageError, Item, Label, Region, Row, param
from xai_plugins.datasets.shapes import Shapes

VERSION = 1
"""Of how mosaics are put together; part of their content."""


@dataclass(frozen=True)
class Mosaic(Dataset):
    """Mosaics of side x side pictures of another dataset, all of different classes (Böhle, Fritz & Schiele 2021,
    arXiv:2104.00032, section 4.1).

    Each cell is a picture's middle, as a square. The label is the class of one cell, drawn with the pictures; regions
    are the cells with their classes, which is what ``grid_pointing_game`` judges by: explain ``target=label``. The
    paper takes pictures that the network is sure of; to do the same, give a dataset of such pictures.
    """

    of: Dataset = param(Shapes(images=240), doc="where the pictures come from; those without a label are passed over")
    images: int = param(24, ge=1, le=1_000_000, doc="how many mosaics")
    side: int = param(2, ge=2, le=8, doc="cells a side")
    cell: int = param(112, ge=16, le=2048, doc="side of a cell in pixels")
    seed: int = param(0, ge=0, le=2**63 - 1, doc="another seed, other mosaics")

    @classmethod
    def example(cls) -> Self:
        """Two of shapes."""
        return cls(of=Shapes(images=24), images=2)

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Item:
        picks, own = self._picks(index)
        whole = Image.new("RGB", (self.side * self.cell,) * 2)
        regions = []
        for place, number in enumerate(picks):
            item, row = self.of[number], self._rows[number]
            if item.id != row.id or (item.content and item.content != row.content):
                raise ImageError(
                    "was changed after the run was planned", where=row.id, fix="run the same command again"
                )
            if not isinstance(item.image, Image.Image):
                raise ImageError("is an array; mosaics are made of pictures", where=item.id)
            left, top = (place % self.side) * self.cell, (place // self.side) * self.cell
            fitted = ImageOps.fit(item.image.convert("RGB"), (self.cell, self.cell), Image.Resampling.BICUBIC)
            whole.paste(fitted, (left, top))
            box = (float(left), float(top), float(left + self.cell), float(top + self.cell))
            regions.append(Region(item.label, box))
        return Item(self._id(index), whole, regions[own].label, tuple(regions))

    def rows(self) -> Iterator[Row]:
        """A mosaic is identified by its pictures; nothing is read but their list."""
        for index in range(self.images):
            picks, own = self._picks(index)
            parts = [self._rows[number].content for number in picks]
            text = f"mosaic/{VERSION}/{self.side}/{self.cell}/{own}/" + "/".join(parts)
            label = self._rows[picks[own]].label
            yield Row(self._id(index), hashlib.sha256(text.encode()).hexdigest(), label)

    def fingerprint(self) -> str | None:
        """That of the pictures."""
        inner = self.of.fingerprint()
        return None if inner is None else f"{inner}, mosaic {VERSION}"

    @cached_property
    def _rows(self) -> tuple[Row, ...]:
        return tuple(self.of.rows())

    @cached_property
    def _classes(self) -> list[list[int]]:
        """Numbers of the usable pictures of each class."""
        found: dict[Label, list[int]] = {}
        for number, row in enumerate(self._rows):
            if row.label is not None and not row.reason:
                found.setdefault(row.label, []).append(number)
        if len(found) < self.side**2:
            raise ConfigError(
                f"there are labelled pictures of {len(found)} classes; {self.side} x {self.side} cells take "
                f"{self.side**2}",
                where="dataset.of",
                fix="give pictures of more classes, or a smaller dataset.side",
            )
        return list(found.values())

    def _picks(self, index: int) -> tuple[list[int], int]:
        """Numbers of the pictures, cell by cell, and which cell is the label's."""
        rng = np.random.default_rng([self.seed, index])
        classes = rng.choice(len(self._classes), self.side**2, replace=False)
        return [int(rng.choice(self._classes[c])) for c in classes], int(rng.integers(self.side**2))

    def _id(self, index: int) -> str:
        return f"mosaic-{self.side}x{self.side}-s{self.seed}-{index:06d}"
