"""A dataset's ordered rows, computed once and kept, so that a second plan does not read the images again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from xai_framework.core.dataset import Dataset, Row
from xai_framework.core.errors import ConfigError
from xai_framework.store import write_atomic


@dataclass(frozen=True)
class Manifest:
    """The rows of one dataset, in order. ``key`` names this very list of rows."""

    rows: tuple[Row, ...]

    @cached_property
    def key(self) -> str:
        """sha256 over ids and contents, in order."""
        text = json.dumps([[r.id, r.content] for r in self.rows])
        return hashlib.sha256(text.encode()).hexdigest()

    def keys(self, indices: Sequence[int] | None = None) -> list[tuple[str, str]]:
        """(id, content) of all rows, or of some."""
        rows = self.rows if indices is None else [self.rows[i] for i in indices]
        return [(r.id, r.content) for r in rows]


def manifest_of(dataset: Dataset, identity: str, folder: Path | None) -> Manifest:
    """The manifest of a dataset, from ``folder`` where an up-to-date one is kept there.

    ``identity`` is a text that names the dataset's configuration and code. Raises StoreError where the disk refuses.
    """
    fingerprint = dataset.fingerprint()
    if fingerprint is None or folder is None:
        return _built(dataset)
    name = hashlib.sha256(f"{identity}\n{fingerprint}".encode()).hexdigest()
    file = folder / f"{name[:24]}.jsonl"
    try:
        rows = tuple(Row(**json.loads(line)) for line in file.read_text("utf-8").splitlines())
        if len(rows) == len(dataset):
            return Manifest(rows)
    except (OSError, ValueError, TypeError):
        pass  # absent, torn or of an older version: made again below
    manifest = _built(dataset)
    text = "".join(json.dumps(asdict(r)) + "\n" for r in manifest.rows)
    write_atomic(file, text.encode())
    return manifest


def _built(dataset: Dataset) -> Manifest:
    rows = tuple(dataset.rows())
    seen: dict[str, int] = {}
    for i, row in enumerate(rows):
        if row.id in seen:
            raise ConfigError(f"image id {row.id!r} stands twice (rows {seen[row.id]} and {i})", where="dataset")
        seen[row.id] = i
    if not rows:
        raise ConfigError("the dataset holds no images", where="dataset")
    return Manifest(rows)
