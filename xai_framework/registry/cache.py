"""Schemas on disk, so that a second look at a plugin need not import it (and torch).

A cached schema holds only while every source file and asset it names has its recorded content. It is data: a file that
is damaged, foreign or too large is ignored, and no code is ever found through it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

from xai_framework.registry.discovery import Entry, source_of
from xai_framework.registry.schema import FORMAT, Schema, from_json, to_json
from xai_framework.registry.sources import digest, unchanged

_MOST_BYTES = 1_000_000


def read(entry: Entry) -> Schema | None:
    """The cached schema of an installed plugin, if it still describes what is on disk."""
    key = _key(entry)
    path = _path(key)
    if path is None:
        return None
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        stored = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(stored, dict) or stored.get("key") != key:
            return None
        schema = from_json(stored.get("schema"))
    except (OSError, ValueError, RecursionError):
        return None
    if (schema.kind, schema.name) != (entry.kind, entry.name) or schema.broken or key["source"] not in schema.sources:
        return None
    folder = Path(schema.asset_folder)
    assets = {str(folder / name): expected for name, expected in schema.assets.items()}
    return schema if unchanged(schema.sources) and unchanged(assets) else None


def write(entry: Entry, schema: Schema) -> None:
    """Keep a schema for the next time; a folder that cannot be written to is no error."""
    key = _key(entry)
    path = _path(key)
    if path is None:
        return
    try:
        text = json.dumps({"key": key, "schema": to_json(schema)}, allow_nan=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".schema-")
    except (OSError, ValueError, TypeError):
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)


def folder() -> Path | None:
    """``$XDG_CACHE_HOME`` or ``~/.cache``, then ``xai_framework``; None where there is no home folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base) / "xai_framework"
    try:
        return Path.home() / ".cache" / "xai_framework"
    except RuntimeError:
        return None


def _path(key: dict[str, str]) -> Path | None:
    base = folder()
    digits = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return base / "schemas" / f"{key['kind']}-{key['name']}-{digits}.json" if base else None


def _key(entry: Entry) -> dict[str, str]:
    """Everything besides file contents that decides a schema."""
    return {
        "format": str(FORMAT),
        "core": _core_digest(),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "kind": entry.kind,
        "name": entry.name,
        "value": entry.value,
        "distribution": entry.distribution,
        "distribution_version": entry.distribution_version,
        "source": str(source_of(entry.module)),
    }


@functools.cache
def _core_digest() -> str:
    """sha256 over the plugin API and this package: they decide how a class becomes a schema."""
    root = Path(__file__).parents[1]
    files = sorted([*(root / "core").glob("*.py"), *(root / "registry").glob("*.py")])
    return hashlib.sha256("".join(digest(f) for f in files).encode()).hexdigest()
