"""Pictures to explain, with what is known about them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.plugin import Plugin

if TYPE_CHECKING:
    from PIL.Image import Image

Label = int | str | None
"""A class as the dataset knows it: index in the backbone's classes, or class name, or unknown."""

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels of the upright picture, origin top left, x1 and y1 exclusive."""


@dataclass(frozen=True)
class Region:
    """Ground truth: where an object of one class is. ``mask`` is (H,W) bool, the size of the picture."""

    label: Label = None
    box: Box | None = None
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Item:
    """One picture. ``image`` is an upright RGB picture, or a float array (H,W,C) in [0,1] for other channel counts.

    ``content``, where it is given, is that of the row, as it is now: a picture that changed since is not computed.
    """

    id: str
    image: Image | NDArray[Any]
    label: Label = None
    truth: tuple[Region, ...] = ()
    content: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a manifest: what identifies an item without decoding it.

    ``content`` is a sha256 over everything that decides the item's picture. Stored maps are found by (id, content),
    so a picture that changes under the same name is computed anew. ``reason`` is set where the item cannot be read.
    """

    id: str
    content: str
    label: Label = None
    reason: str = ""


class Dataset(Plugin, ABC):
    """An ordered collection of items with unique ids. Reading item i must not depend on the items before it.

    ``__getitem__`` raises ImageError where a picture cannot be used: that row is stored as failed, the run goes on.
    """

    kind: ClassVar[str] = "dataset"

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Item: ...

    def rows(self) -> Iterator[Row]:
        """The manifest, in order. Override where a content hash is cheaper than decoding."""
        for i in range(len(self)):
            item = self[i]
            yield Row(item.id, content_hash(item.image), item.label)

    def fingerprint(self) -> str | None:
        """A cheap text that changes whenever the manifest may have changed (file names, sizes, times).

        While it stays the same a cached manifest is used. None: never cache.
        """
        return ""


def content_hash(image: Image | NDArray[Any]) -> str:
    """sha256 of a decoded picture's size and pixels."""
    pixels = np.ascontiguousarray(np.asarray(image))
    head = f"{pixels.shape}{pixels.dtype.str}".encode()
    return hashlib.sha256(head + pixels.tobytes()).hexdigest()
