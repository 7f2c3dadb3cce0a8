"""What decides a result's values, as canonical data: the identity of plugins and cells."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from xai_framework.core.errors import ConfigError
from xai_framework.registry import Registry

SCHEMA = 1
"""Raised when the framework itself changes what is stored for the same configuration."""

Config = Mapping[str, Any]


def plugin_identity(registry: Registry, kind: str, config: Config, where: str = "") -> dict[str, Any]:
    """A plugin's code and parameter values; a file parameter counts by its content, not by its path."""
    name = str(config["name"])
    schema = registry.schema(kind, name)
    params: dict[str, Any] = {}
    for p in schema.params:
        value = config.get(p.name)
        if p.nested and value is not None:
            value = plugin_identity(registry, p.nested, value, f"{where}.{p.name}")
        elif "file" in p.kinds and value is not None:
            value = {"sha256": file_hash(value, f"{where}.{p.name}")}
        params[p.name] = list(value) if isinstance(value, tuple) else value
    return {"code": registry.code_identity(kind, name), "params": params}


def is_stochastic(registry: Registry, config: Config) -> bool:
    """Whether a method, or one nested in it, draws random numbers."""
    schema = registry.schema("method", str(config["name"]))
    nested = (config[p.name] for p in schema.params if p.nested == "method" and config.get(p.name))
    return schema.stochastic or any(is_stochastic(registry, inner) for inner in nested)


def caption(registry: Registry, kind: str, config: Config) -> str:
    """How a configured plugin is called in tables and folders."""
    schema = registry.schema(kind, str(config["name"]))
    values = {p.name: _text(config.get(p.name)) for p in schema.params}
    text = schema.caption.format(name=config["name"], **values)
    if kind != "target":
        return text
    # how the class is scored, where it is not the plain logit
    defaults = {p.name: p.default for p in schema.params}
    scored = [config["of"]] if config.get("of", "logit") != "logit" else []
    scored += [n for n in ("softmax_first", "anew") if config.get(n)]
    scored += [
        f"{n}={_text(config[n])}" for n in ("scale_logits", "divide_by") if config.get(n, 0) != defaults.get(n, 0)
    ]
    return ":".join([text, *scored])


def differing(configs: list[Config]) -> list[str]:
    """For configurations that share a label: what tells each apart, e.g. ``samples=50``."""
    flat = [_flatten(c) for c in configs]
    keys = [k for k in dict.fromkeys(k for f in flat for k in f) if len({repr(f.get(k)) for f in flat}) > 1]
    return [",".join(f"{k}={_text(f[k])}" for k in keys if k in f) for f in flat]


def file_hash(path: str, where: str) -> str:
    """sha256 of a file's content. Raises ConfigError naming the key."""
    file = Path(path)
    if not file.is_file():
        siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        from xai_framework.core.errors import did_you_mean

        raise ConfigError(f"no file {path!r}", where=where, fix=did_you_mean(file.name, siblings))
    stat = file.stat()
    return _file_hash(str(file.resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_hash(path: str, size: int, mtime: int) -> str:
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _flatten(config: Config, prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            out |= _flatten(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return "+".join(_text(v) for v in value)
    if isinstance(value, Mapping):
        return str(value.get("name", ""))
    return f"{value:g}" if isinstance(value, float) else str(value)
