"""Names of things on disk, made of their content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xai_framework.core.errors import StoreError


def canonical(value: object) -> str:
    """One JSON text for equal data: sorted keys, no spaces, floats in full. Raises StoreError for what is no JSON."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()  # a lone surrogate is no text
    except (TypeError, ValueError) as error:
        raise StoreError(f"cannot be stored as JSON: {error}") from None
    return text


def cell_id(identity: Mapping[str, Any]) -> str:
    """sha256 of a cell's identity, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file. Raises StoreError where it cannot be read."""
    try:
        if not path.is_file():  # a pipe would never end
            raise StoreError("is no file", where=str(path))
        with path.open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from None


def safe_name(text: str) -> str:
    """A folder name made of any text."""
    return re.sub(r"[^A-Za-z0-9_.+=-]", "_", text).lstrip(".")[:80] or "_"
