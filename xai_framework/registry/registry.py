"""Names -> plugin classes."""

from __future__ import annotations

import functools
import hashlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai_framework.core.errors import PluginError, did_you_mean
from xai_framework.core.plugin import Plugin
from xai_framework.registry import cache, configs
from xai_framework.registry.configs import Config
from xai_framework.registry.discovery import (
    Entry,
    installed_aliases,
    installed_controls,
    installed_plugins,
    source_of,
)
from xai_framework.registry.local import local_plugins
from xai_framework.registry.names import KINDS, bad_name, snake_case, spelling
from xai_framework.registry.outline import Outline, outline
from xai_framework.registry.schema import Schema
from xai_framework.registry.schema_of import schema_of
from xai_framework.registry.sources import edited
from xai_framework.registry.validate import check_class, import_error


class Registry:
    """Every plugin there is: of installed distributions (entry points ``xai_framework.methods``, ...) and local files.

    Installed plugins are imported when one is loaded, or looked at for the first time; local files are imported here.
    What is known of a plugin is asked once and kept: a registry sees the files as they are when it is asked first.
    ``kind`` is one of :data:`KINDS` throughout.
    """

    def __init__(self, local_files: Sequence[str | Path] = ()) -> None:
        """Raises ConfigError for a file that is missing, PluginError for one that is no usable plugin file."""
        self._entries = installed_plugins()
        self._aliases = installed_aliases()
        for kind, names in local_plugins(local_files).items():
            for name, entries in names.items():
                claimed = (*self._entries[kind].get(name, ()), *entries)
                if len(claimed) > 1:
                    raise _duplicate(claimed, 'rename the class, or give it plugin_name: ClassVar[str] = "..."')
                self._entries[kind][name] = claimed
        self._schemas: dict[tuple[str, str], Schema] = {}
        self._classes: dict[tuple[str, str], type[Plugin]] = {}

    def names(self, kind: str) -> tuple[str, ...]:
        """All valid names, sorted, whether their plugins work or not. Imports nothing."""
        return tuple(sorted(name for name in self._of(kind) if not bad_name(name)))

    def aliases(self, kind: str) -> dict[str, str]:
        """Other names of plugins, under which users of other libraries know them, and what each stands for."""
        names = self._of(kind)
        return {a: n for a, n in sorted(self._aliases[kind].items()) if n in names and a not in names}

    @functools.cached_property
    def controls(self) -> frozenset[str]:
        """Methods that know nothing of the model and stand beside others for comparison, as their distributions say.

        Not a field of the class: that a method is a control changes nothing in what it computes.
        """
        return installed_controls()

    def canonical(self, kind: str, name: str) -> str:
        """The name of the plugin that ``name`` stands for: itself, an alias, or either in another spelling
        (``Grad-CAM++``). A name that stands for nothing is given back.
        """
        names = self._of(kind)
        if name in names:
            return name
        aliases = self.aliases(kind)
        known = {spelling(alias): n for alias, n in aliases.items()} | {spelling(n): n for n in names}
        return aliases.get(name) or known.get(spelling(name), name)

    def outlines(self, kind: str, *, check: bool = False) -> tuple[Outline, ...]:
        """Name, one line of documentation and obvious faults of every plugin, from source text. Imports nothing.

        With ``check`` plugins are looked at as :meth:`schemas` does, so that every fault is found.
        """
        seen = tuple(outline(entries) for _, entries in sorted(self._of(kind).items()))
        if not check:
            return seen
        return tuple(replace(o, broken=schema.broken) for o, schema in zip(seen, self.schemas(kind), strict=True))

    def schemas(self, kind: str) -> tuple[Schema, ...]:
        """What is known of every plugin; one that does not work says why in ``broken``."""
        found = []
        for name, entries in sorted(self._of(kind).items()):
            try:
                found.append(self.schema(kind, name))
            except PluginError as error:
                first = entries[0]
                found.append(
                    Schema(
                        kind=kind,
                        name=name,
                        distribution=first.distribution,
                        distribution_version=first.distribution_version,
                        local=first.file is not None,
                        broken=str(error),
                    )
                )
        return tuple(found)

    def schema(self, kind: str, name: str) -> Schema:
        """What is known of one plugin.

        From the cache where its sources have not changed; else the plugin is imported. Raises PluginError as
        :meth:`load` does.
        """
        key = (kind, name)
        if key not in self._schemas:
            entry = self._entry(kind, name)
            found = cache.read(entry) if entry.file is None else None
            if found is None:
                self.load(kind, name)
            else:
                self._schemas[key] = found
        return self._schemas[key]

    def load(self, kind: str, name: str) -> type[Plugin]:
        """The class of a plugin.

        Raises PluginError for a name that is unknown, invalid or claimed twice, an import that fails, and a class that
        is no usable plugin.
        """
        key = (kind, name)
        if key not in self._classes:
            entry = self._entry(kind, name)
            cls = check_class(_import(entry), entry)
            known, found = self._schemas.get(key), schema_of(self, cls, entry)
            changed = edited(entry.module, found.sources)
            if changed or (known is not None and known.sources != found.sources):
                raise PluginError(f"{name} was edited while it is in use", where=entry.place, fix="start again")
            if entry.file is None and known != found:
                cache.write(entry, found)
            self._schemas[key], self._classes[key] = found, cls
        return self._classes[key]

    def build(self, kind: str, config: Mapping[str, Any] | str, where: str = "") -> Plugin:
        """The instance a config describes; see :meth:`check` for what is accepted. Raises ConfigError, PluginError."""
        return configs.build(self, kind, self.check(kind, config, where), where)

    def check(self, kind: str, config: Mapping[str, Any] | str, where: str = "") -> Config:
        """The full config: every parameter, defaults filled in and values in their declared types, as plain JSON.

        ``config`` is a plugin's name, or a mapping of ``name`` and some parameters; so are nested plugins in it.
        Imports no plugin whose schema is cached. Raises ConfigError naming the key, ``where`` being the config's own.
        """
        return configs.check(self, kind, config, where)

    def config_of(self, plugin: Plugin) -> Config:
        """The full config of an instance: the inverse of :meth:`build`."""
        return configs.config_of(self, plugin)

    def name_of(self, cls: type[Plugin]) -> str:
        """The registered name of a class, else its class name in snake case."""
        for name, entries in self._of(cls.kind).items():
            # a class can only be registered through a module that has been imported along with it
            module = sys.modules.get(entries[0].module)
            if len(entries) == 1 and getattr(module, entries[0].attribute, None) is cls:
                return name
        return snake_case(cls.__name__)

    def code_identity(self, kind: str, name: str) -> dict[str, Any]:
        """What identifies a plugin's code in a stored result: no paths, the same on every machine.

        ``source`` is there for local files and editable installs, whose version does not say what they compute.
        """
        schema = self.schema(kind, name)
        identity: dict[str, Any] = {
            "plugin": name,
            "version": schema.version,
            "distribution": schema.distribution,
            "assets": dict(schema.assets),
        }
        if schema.local or schema.editable:
            identity["source"] = hashlib.sha256("".join(sorted(schema.sources.values())).encode()).hexdigest()
        return identity

    def _of(self, kind: str) -> dict[str, tuple[Entry, ...]]:
        if kind not in KINDS:
            raise PluginError(f"no kind of plugin is called {kind!r}", fix=did_you_mean(kind, KINDS))
        return self._entries[kind]

    def _entry(self, kind: str, name: str) -> Entry:
        """The one entry of a name."""
        entries = self._of(kind).get(name, ())
        if not entries:
            raise PluginError(f"no {kind} {name!r}", fix=did_you_mean(name, self.names(kind)))
        if reason := bad_name(name):
            raise PluginError(reason, where=entries[0].place)
        if len(entries) > 1:
            raise _duplicate(entries, "uninstall one of them")
        return entries[0]


def _import(entry: Entry) -> object:
    """The object an entry point names."""
    if not entry.module:
        raise PluginError(f"the entry point {entry.name} = {entry.value!r} is not module:Class", where=entry.place)
    try:
        module = importlib.import_module(entry.module)
    except (Exception, SystemExit) as error:
        raise import_error(f"{entry.kind} {entry.name!r}", error, source_of(entry.module)) from error
    found: object = module
    for part in entry.attribute.split("."):
        if not hasattr(found, part):
            raise PluginError(
                f"{entry.kind} {entry.name!r}: {entry.module} has no {entry.attribute}",
                where=entry.place,
                fix=did_you_mean(part, [n for n, v in vars(module).items() if isinstance(v, type)]),
            )
        found = getattr(found, part)
    return found


def _duplicate(entries: Sequence[Entry], fix: str) -> PluginError:
    places = " and ".join(entry.place for entry in entries)
    return PluginError(f"{entries[0].kind} {entries[0].name!r} is defined more than once: {places}", fix=fix)
