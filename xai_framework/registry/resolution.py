"""What moving names stood for when a plugin was asked last, so that planning need not import it (and torch) again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import ConfigError
from xai_framework.registry.cache import folder

if TYPE_CHECKING:
    from xai_framework.registry.registry import Registry

_MOST_BYTES = 100_000


def resolved(registry: Registry, kind: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with every moving name replaced, see ``Plugin.resolved``.

    The answer is kept for as long as the plugin's code, the configuration and the versions of all packages that its
    distribution requires stay the same. Raises what the plugin raises.
    """
    schema = registry.schema(kind, str(config["name"]))
    if not schema.resolves:
        return config
    if schema.local:  # the file may do what it likes
        return _asked(registry, kind, config)
    key = {
        "kind": kind,
        "config": dict(config),
        "code": registry.code_identity(kind, str(config["name"])),
        "versions": _versions(schema.distribution),
    }
    text = json.dumps(key, sort_keys=True)
    base = folder()
    path = base / "resolved" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json" if base else None
    if path is not None and (found := _read(path, key)) is not None:
        with suppress(ConfigError):  # a damaged entry
            return registry.check(kind, found)
    answer = _asked(registry, kind, config)
    if path is not None:
        _write(path, {"key": key, "resolved": dict(answer)})
    return answer


def _asked(registry: Registry, kind: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    return registry.config_of(registry.build(kind, config, kind).resolved())


def _versions(distribution: str) -> dict[str, str]:
    found = {}
    for requirement in requires(distribution) or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _read(path: Path, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        stored = json.loads(path.read_text("utf-8"))
        # as JSON has it: tuples became lists
        same = isinstance(stored, dict) and stored.get("key") == json.loads(json.dumps(key))
        found = stored.get("resolved") if same else None
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, entry: Mapping[str, Any]) -> None:
    """A folder that cannot be written to is no error: the plugin is asked again next time."""
    with suppress(OSError, ValueError, TypeError):
        text = json.dumps(entry, allow_nan=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".resolved-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
