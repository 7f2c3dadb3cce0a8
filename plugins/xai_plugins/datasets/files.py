"""Pictures named one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from xai_framework.core import ConfigError, Dataset, Item, Row, param
from xai_plugins.datasets._files import existing, fingerprint, item_of, row_of


@dataclass(frozen=True)
class Files(Dataset):
    """Picture files by path or by pattern (``photos/*.jpg``), in the order given; the path is the id."""

    paths: tuple[str, ...] = param(doc="files or patterns")

    @classmethod
    def example(cls) -> Self:
        """Any one file."""
        return cls(paths=("photo.jpg",))

    @cached_property
    def _files(self) -> tuple[tuple[str, Path], ...]:
        found: dict[str, Path] = {}
        for pattern in self.paths:
            path = Path(pattern)
            if path.is_file() or not any(c in pattern for c in "*?["):
                matches = [existing(pattern, "dataset.paths")]
            else:
                matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
                if not matches:
                    raise ConfigError("no file matches", where=f"dataset.paths={pattern}")
            found |= {str(p): p for p in matches if p.is_file()}
        return tuple(found.items())

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Item:
        name, path = self._files[index]
        return item_of(name, path)

    def rows(self) -> Iterator[Row]:
        """Identified by the files' bytes."""
        return (row_of(name, path) for name, path in self._files)

    def fingerprint(self) -> str:
        """Names, sizes and times."""
        return fingerprint(self._files, str(Path.cwd()))
