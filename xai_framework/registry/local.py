"""Plugins in single files: ``plugins=[./my_cam.py]``. The file's plugin classes get names, nothing is installed.

A local file stands alone: what it needs beyond installed packages belongs into the same file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Sequence
from importlib.abc import SourceLoader
from pathlib import Path
from types import ModuleType

from xai_framework.core.errors import ConfigError, PluginError, did_you_mean
from xai_framework.core.plugin import Plugin
from xai_framework.registry.discovery import Catalogue, Entry
from xai_framework.registry.names import KINDS, bad_name, snake_case
from xai_framework.registry.sources import edited
from xai_framework.registry.validate import import_error


class _Exact(SourceLoader):
    """Runs exactly the bytes it was given: no byte code cache, which overlooks a second edit within one second."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data = path, data

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        return self._data


def local_plugins(files: Sequence[str | Path]) -> Catalogue:
    """The plugins of local files, which are imported for this.

    Raises ConfigError for a file that is not there, PluginError for one that cannot be imported or offers no plugin.
    """
    found: Catalogue = {kind: {} for kind in KINDS}
    for path in dict.fromkeys(_python_file(file) for file in files):
        entries = [_entry(cls, path) for cls in _plugin_classes(_load(path))]
        if not entries:
            raise PluginError(
                "defines no plugin", where=str(path), fix="derive a class from Explainer, Target, ... of the core"
            )
        for entry in entries:
            found[entry.kind][entry.name] = (*found[entry.kind].get(entry.name, ()), entry)
    return found


def _python_file(file: str | Path) -> Path:
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        near = [p.name for p in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        raise ConfigError("no such plugin file", where=str(file), fix=did_you_mean(path.name, near) if near else "")
    if path.suffix != ".py":
        raise ConfigError("a plugin file ends in .py", where=str(file))
    return path


def _load(path: Path) -> ModuleType:
    """The module of a file, under a name of its own for every content (dataclasses and pickle look it up by name)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    identity = hashlib.sha256(str(path).encode() + b"\0" + data).hexdigest()[:12]
    name = f"xai_local_{re.sub(r'[^a-zA-Z0-9]', '_', path.stem)}_{identity}"
    if name in sys.modules:
        return sys.modules[name]
    edited(name, {str(path): hashlib.sha256(data).hexdigest()})
    spec = importlib.util.spec_from_loader(name, _Exact(path, data), origin=str(path))
    if spec is None or spec.loader is None:
        raise PluginError("cannot be imported", where=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise import_error(f"the plugin file {path.name}", error, path) from error
    return module


def _plugin_classes(module: ModuleType) -> list[type[Plugin]]:
    """The plugin classes defined in a module, without abstract ones that only serve as bases of others there.

    A class that misses a method it must give is kept: it is refused, with that reason, when it is selected.
    """
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and issubclass(value, Plugin)
        and getattr(value, "kind", None) in KINDS
    ]
    return [
        c
        for c in dict.fromkeys(classes)
        if not inspect.isabstract(c)
        or not (c.__name__.startswith("_") or any(c in other.__mro__[1:] for other in classes))
    ]


def _entry(cls: type[Plugin], path: Path) -> Entry:
    name = vars(cls).get("plugin_name", snake_case(cls.__name__))
    reason = bad_name(name) if isinstance(name, str) else f"{name!r} is not a string"
    if reason:
        raise PluginError(
            reason, where=f"{path}, class {cls.__name__}", fix='name it: plugin_name: ClassVar[str] = "..."'
        )
    return Entry(
        kind=cls.kind,
        name=name,
        value=f"{cls.__module__}:{cls.__qualname__}",
        module=cls.__module__,
        attribute=cls.__qualname__,
        distribution="local",
        distribution_version="",
        file=path,
    )
