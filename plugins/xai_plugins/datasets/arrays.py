"""Pictures in one .npz file."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xai_framework.core import ConfigError, Dataset, File, ImageError, Item, Label, Region, param
from xai_plugins.datasets._files import existing

LARGEST = 16 << 30


@dataclass(frozen=True)
class Arrays(Dataset):
    """An .npz file with ``images`` (N,H,W) or (N,H,W,C), uint8 or float in [0,1]; optionally ids, labels, masks.

    Channels come last. Byte order, strides and float width do not matter.
    """

    path: File = param(doc="the .npz file")

    @classmethod
    def example(cls) -> Self:
        """Any file."""
        return cls(path=File("images.npz"))

    @cached_property
    def _held(self) -> dict[str, NDArray[Any]]:
        file = existing(self.path, "dataset.path", (".npz",))
        try:
            with zipfile.ZipFile(file) as archive:
                declared = sum(i.file_size for i in archive.infolist())
            if declared > LARGEST:
                raise ConfigError(f"unpacks to {declared} bytes, more than {LARGEST}", where=str(file))
            with np.load(file, allow_pickle=False) as held:
                found = {k: held[k] for k in held.files}
        except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
            raise ConfigError(f"is no .npz of plain arrays ({error})", where=str(file)) from None
        _check(found, file)
        return found

    def __len__(self) -> int:
        return len(self._held["images"])

    def __getitem__(self, index: int) -> Item:
        name = self._text("ids", index) or str(index)
        image = self._held["images"][index]
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise ImageError("contains NaN or infinite values", where=name)
        image = image.astype(np.uint8 if image.dtype == np.uint8 else np.float32)
        masks = self._held.get("masks")
        label = self._label(index)
        truth = (Region(label, None, masks[index].astype(bool)),) if masks is not None else ()
        return Item(name, image, label, truth)

    def fingerprint(self) -> str:
        """Size and time of the file."""
        stat = Path(self.path).stat()
        return f"{stat.st_size} {stat.st_mtime_ns}"

    def rows(self) -> Any:  # noqa: ANN401 - an iterator of Row
        """Identified by pixels; an unusable picture keeps its place."""
        from xai_framework.core import Row, content_hash

        for i in range(len(self)):
            name = self._text("ids", i) or str(i)
            yield Row(name, content_hash(self._held["images"][i]), self._label(i))

    def _text(self, key: str, index: int) -> str:
        return str(self._held[key][index]) if key in self._held else ""

    def _label(self, index: int) -> Label:
        if "labels" not in self._held:
            return None
        value = self._held["labels"][index]
        return int(value) if value.dtype.kind in "iu" else str(value)


def _check(found: dict[str, NDArray[Any]], file: Path) -> None:
    images = found.get("images")
    if images is None:
        raise ConfigError("holds no array 'images'", where=str(file), fix=f"it holds {', '.join(found) or 'nothing'}")
    if images.ndim not in (3, 4):
        raise ConfigError(f"images have shape {images.shape}, expected (N,H,W) or (N,H,W,C)", where=str(file))
    if images.ndim == 4 and images.shape[1] in (1, 3, 4) and images.shape[3] > 16:
        raise ConfigError(
            f"images have shape {images.shape}: channels come last", where=str(file), fix="images.transpose(0, 2, 3, 1)"
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise ConfigError(f"images are {images.dtype}, expected uint8 or float in [0,1]", where=str(file))
    for key in ("labels", "ids", "masks"):
        if key in found and len(found[key]) != len(images):
            raise ConfigError(f"{key} has {len(found[key])} entries for {len(images)} images", where=str(file))
