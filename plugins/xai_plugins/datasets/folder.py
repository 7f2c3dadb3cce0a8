"""All pictures below a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from xai_framework.core import PICTURES, ConfigError, Dataset, Item, Row, param
from xai_plugins.datasets._files import existing, fingerprint, item_of, row_of


@dataclass(frozen=True)
class Folder(Dataset):
    """Picture files below a folder, sorted by path; the path relative to it is the id.

    With ``classes`` the first level of subfolders names the class (ImageFolder). Links are followed only to places
    inside the folder; hidden files are passed over.
    """

    path: str = param(doc="the folder")
    classes: bool = param(False, doc="subfolder names are class names")
    limit: int | None = param(None, ge=1, doc="only the first so many pictures")

    @classmethod
    def example(cls) -> Self:
        """The working folder."""
        return cls(path=".")

    @cached_property
    def _files(self) -> tuple[tuple[str, Path], ...]:
        root = existing(self.path, "dataset.path", folder=True)
        inside = root.resolve()
        every = [
            p for p in sorted(root.rglob("*")) if not any(part.startswith(".") for part in p.relative_to(root).parts)
        ]
        files = [
            p for p in every if p.suffix.lower() in PICTURES and p.is_file() and p.resolve().is_relative_to(inside)
        ]
        if not files:
            others = Counter(p.suffix.lower() or "(none)" for p in every if p.is_file())
            counts = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5)) or "no files at all"
            raise ConfigError(
                f"holds no pictures ({counts})",
                where=f"dataset.path={self.path}",
                fix=f"looked for {' '.join(PICTURES)}",
            )
        return tuple((p.relative_to(root).as_posix(), p) for p in files[: self.limit])

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Item:
        name, path = self._files[index]
        return item_of(name, path, self._label(name))

    def rows(self) -> Iterator[Row]:
        """Identified by the files' bytes."""
        return (row_of(name, path, self._label(name)) for name, path in self._files)

    def fingerprint(self) -> str:
        """Names, sizes and times."""
        return fingerprint(self._files, str(Path(self.path).resolve()))

    def _label(self, name: str) -> str | None:
        return name.split("/")[0] if self.classes and "/" in name else None
