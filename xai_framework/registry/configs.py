"""Configs of plugins: ``{"name": "smoothgrad", "samples": 50, "inner": {"name": "gradcam"}}`` and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import ConfigError, PluginError, XaiError, did_you_mean
from xai_framework.core.params import Param, params_of

if TYPE_CHECKING:
    from xai_framework.core.plugin import Plugin
    from xai_framework.registry.registry import Registry
    from xai_framework.registry.schema import Schema

Config = dict[str, Any]

_DEEPEST = 16


def check(registry: Registry, kind: str, config: object, where: str, depth: int = 0) -> Config:
    """The full config of a plugin, see :meth:`Registry.check`."""
    if depth == _DEEPEST:
        raise ConfigError(f"plugins are nested more than {_DEEPEST} deep", where=where)
    given = _as_mapping(kind, config, where)
    name = registry.canonical(kind, given["name"])
    schema = _schema(registry, kind, name, where)
    names = [p.name for p in schema.params]
    for key in given:
        if isinstance(key, str) and key.startswith("_"):
            raise ConfigError(f"{key!r} is not allowed: a config holds names, never code", where=_join(where, key))
        if key != "name" and key not in names:
            raise ConfigError(f"no parameter {key!r} in {name}", where=_join(where, key), fix=did_you_mean(key, names))
    full: Config = {"name": name}
    for p in schema.params:
        at = _join(where, p.name)
        if p.required and p.name not in given:
            raise ConfigError(f"{name} needs a value for {p.name!r} ({p.type_text})", where=at, fix=p.doc)
        full[p.name] = _value(registry, p, given.get(p.name, p.default), at, depth)
    return full


def build(registry: Registry, kind: str, config: Mapping[str, Any], where: str) -> Plugin:
    """The instance of a full config, as :func:`check` gives it."""
    name = config["name"]
    cls = registry.load(kind, name)
    values: Config = {}
    for p in registry.schema(kind, name).params:
        value = config[p.name]
        if p.nested is not None and value is not None:
            parts = [build(registry, p.nested, v, _join(where, p.name)) for v in (value if p.many else [value])]
            value = tuple(parts) if p.many else parts[0]
        values[p.name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**values)
    except XaiError as error:
        # the plugin's own check of several values together; it knows its class, not the key in the config
        at = _join(where, error.where.rpartition(".")[2]) if error.where else where
        raise type(error)(error.what, where=at, fix=error.fix) from error
    except Exception as error:
        raise PluginError(f"{name} cannot be made: {type(error).__name__}: {error}", where=where) from error


def config_of(registry: Registry, plugin: Plugin, *, full: bool = True) -> Config:
    """The config of an instance; ``full=False`` leaves out what has its default value."""
    config: Config = {"name": registry.name_of(type(plugin))}
    for p in params_of(type(plugin)):
        value = getattr(plugin, p.name)
        if full or p.required or value != p.default:
            config[p.name] = plain(registry, p, value, full=full)
    return config


def plain(registry: Registry, p: Param, value: Any, *, full: bool = True) -> Any:  # noqa: ANN401 - any parameter's value
    """A parameter's value as JSON can hold it: nested plugins as configs, tuples as lists."""
    if p.nested is None or value is None:
        return list(value) if isinstance(value, tuple) else value
    if p.many:
        return [config_of(registry, v, full=full) for v in value]
    return config_of(registry, value, full=full)


def _as_mapping(kind: str, config: object, where: str) -> Mapping[Any, Any]:
    """A config with a usable ``name``; a bare name stands for all defaults."""
    if isinstance(config, str):
        return {"name": config}
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"expected the name of a {kind}, or name and parameters, got {config!r} ({type(config).__name__})",
            where=where,
            fix="YAML reads on, off, yes, no as truth values; quote them" if isinstance(config, bool) else "",
        )
    if not isinstance(config.get("name"), str):
        problem = f"{config['name']!r} is not a name" if "name" in config else f"no {kind} is named"
        raise ConfigError(problem, where=_join(where, "name"), fix=f"give the {kind}'s name as a string")
    return config


def _schema(registry: Registry, kind: str, name: str, where: str) -> Schema:
    try:
        return registry.schema(kind, name)
    except PluginError as error:
        if error.where:
            raise
        raise PluginError(error.what, where=where, fix=error.fix) from error


def _value(registry: Registry, p: Param, value: Any, where: str, depth: int) -> Any:  # noqa: ANN401 - any YAML value
    if p.nested is None or (value is None and p.optional):
        checked = p.check(value, where)
        return list(checked) if isinstance(checked, tuple) else checked
    if not p.many:
        return check(registry, p.nested, value, where, depth + 1)
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ConfigError(f"empty list, expected {p.type_text}", where=where)
    return [check(registry, p.nested, v, f"{where}[{i}]", depth + 1) for i, v in enumerate(values)]


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
