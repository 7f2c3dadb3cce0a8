"""A study's photographs as the model saw them, and the truth in their pixels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from xai_framework.core.dataset import Box, Dataset, Item
from xai_framework.core.errors import XaiError
from xai_framework.core.geometry import Geometry
from xai_framework.core.status import Status
from xai_framework.registry import Registry
from xai_framework.store import StoredRow


def truth_of(item: Item | None, row: StoredRow) -> tuple[list[Box], Any]:
    """Boxes and united mask of the true objects, in the pixels the model saw."""
    if item is None or not item.truth or not all(row.input_size):
        return [], None
    geometry = Geometry(row.image_size, row.input_size, row.view)
    boxes = [geometry.box_to_input(r.box) for r in item.truth if r.box]
    masks = [r.mask for r in item.truth if r.mask is not None]
    united = geometry.mask_to_input(np.logical_or.reduce(masks)) if masks else None
    return [b for b in boxes if b], united


class Photographs:
    """The study's pictures, opened again from its dataset; each is kept while its rows are made."""

    def __init__(self, config: Any, registry: Registry) -> None:  # noqa: ANN401 - as recorded
        self._dataset: Dataset | None = None
        self._why = ""
        try:
            dataset = registry.build("dataset", config, "dataset")
            self._dataset = dataset if isinstance(dataset, Dataset) else None
        except (XaiError, TypeError, ValueError) as error:
            self._why = f"the dataset cannot be opened: {error}"
        self._item = lru_cache(maxsize=2)(self._open)

    def seen_by_model(self, i: int, row: StoredRow) -> tuple[Image.Image | None, str, Item | None]:
        """(photograph as the model saw it, or why there is none, its item)."""
        item, why = self._item(i)
        if item is None:
            return None, why, None
        if item.id != row.id:
            return None, f"the dataset now holds {item.id!r} in this place", None
        if row.status == Status.failed and not all(row.input_size):
            return None, row.reason, None
        picture = item.image if isinstance(item.image, Image.Image) else _as_picture(np.asarray(item.image))
        if picture is None:
            return None, "not a photograph", item
        return Geometry(row.image_size, row.input_size, row.view).picture_to_input(picture.convert("RGB")), "", item

    def _open(self, i: int) -> tuple[Item | None, str]:
        if self._dataset is None:
            return None, self._why
        try:
            return self._dataset[i], ""
        except (XaiError, IndexError) as error:
            return None, str(error)


def _as_picture(array: np.ndarray[Any, Any]) -> Image.Image | None:
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        return None
    scaled = array if array.dtype == np.uint8 else (np.clip(np.nan_to_num(array), 0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(scaled)).convert("RGB")
