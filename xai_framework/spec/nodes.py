"""Hydra's view of the registry: one config node for every plugin, none of them written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from xai_framework.registry import Registry

GROUPS = ("method", "backbone", "dataset", "target", "renderer", "executor", "metric")
SEVERAL = ("method", "metric")
"""Groups of which a study has several entries, by label."""


class WorkingFolder(SearchPathPlugin):
    """Puts ``./conf`` of the working directory on the search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appended: the package's own names come first."""
        conf = Path.cwd() / "conf"
        if conf.is_dir():
            search_path.append("working folder", f"file://{conf}")


def store_nodes(registry: Registry) -> None:
    """Make every plugin selectable by its name."""
    Plugins.instance().register(WorkingFolder)
    store = ConfigStore.instance()
    for group in GROUPS:
        aliases = registry.aliases(group)
        for schema in registry.schemas(group):
            if not schema.broken:
                for name in (schema.name, *(a for a, canonical in aliases.items() if canonical == schema.name)):
                    package = f"{group}.{name}" if group in SEVERAL else group
                    store.store(group=group, name=name, node=_node(schema), package=package)


def _node(schema: Any) -> dict[str, Any]:  # noqa: ANN401 - registry.Schema
    """Its name and every parameter at its default; a nested plugin is an entry of its own group."""
    nested = [p for p in schema.params if p.nested]
    node: dict[str, Any] = {}
    if nested:
        node["defaults"] = ["_self_", *({f"/{p.nested}@{p.name}": p.default["name"]} for p in nested if p.default)]
    node["name"] = schema.name
    for p in schema.params:
        if not p.nested:
            node[p.name] = "???" if p.required else list(p.default) if isinstance(p.default, tuple) else p.default
    return node
