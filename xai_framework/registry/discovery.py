"""Where plugins are: entry points of installed distributions, and the source file behind a module name.

Nothing here imports a plugin.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from xai_framework.registry.names import KINDS, plural

_VALUE = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<attribute>[\w.]+)\s*(\[.*\])?")

Catalogue = dict[str, dict[str, tuple["Entry", ...]]]
"""kind -> name -> every entry that claims this name (more than one is an error once it is selected)."""


@dataclass(frozen=True)
class Entry:
    """One plugin as announced, before anything of it is imported.

    ``module`` is empty where the entry point's ``value`` is not of the form ``module:Class``. ``file`` is set for a
    plugin of a local file.
    """

    kind: str
    name: str
    value: str
    module: str
    attribute: str
    distribution: str
    distribution_version: str
    file: Path | None = None

    @property
    def place(self) -> str:
        """Where it comes from, for messages."""
        if self.file is not None:
            return f"{self.file} ({self.attribute})"
        return f"{self.distribution} {self.distribution_version} ({self.value})"


def installed_plugins() -> Catalogue:
    """Every entry point of the ``xai_framework.*`` groups."""
    found: dict[str, dict[str, list[Entry]]] = {}
    for kind in KINDS:
        names = found.setdefault(kind, {})
        for point in importlib.metadata.entry_points(group=f"xai_framework.{plural(kind)}"):
            match = _VALUE.fullmatch(point.value)
            entry = Entry(
                kind=kind,
                name=point.name,
                value=point.value,
                module=match["module"] if match else "",
                attribute=match["attribute"] if match else "",
                distribution=point.dist.name if point.dist else "",
                distribution_version=point.dist.version if point.dist else "",
            )
            names.setdefault(point.name, []).append(entry)
    return {kind: {name: tuple(entries) for name, entries in names.items()} for kind, names in found.items()}


def installed_aliases() -> dict[str, dict[str, str]]:
    """Kind -> alias -> name: entry points ``saliency = "gradient"`` of the groups ``xai_framework.*_aliases``."""
    return {
        kind: {p.name: p.value for p in importlib.metadata.entry_points(group=f"xai_framework.{kind}_aliases")}
        for kind in KINDS
    }


def installed_controls() -> frozenset[str]:
    """Names of methods that are controls: entry points of the group ``xai_framework.method_controls``."""
    return frozenset(p.value for p in importlib.metadata.entry_points(group="xai_framework.method_controls"))


def find_spec(module: str) -> ModuleSpec | None:
    """The spec of a dotted module; unlike ``importlib.util.find_spec`` without importing its parent packages."""
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for i in range(len(parts)):
        full = ".".join(parts[: i + 1])
        try:
            spec = next((s for f in sys.meta_path if (s := f.find_spec(full, path)) is not None), None)
        except KeyError:  # a namespace package inside one: its search path is only known once the parent is imported
            return importlib.util.find_spec(module)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and i + 1 < len(parts):
            return None
    return spec


def source_of(module: str) -> Path | None:
    """The file of a module; None for built-in, namespace and missing modules."""
    spec = find_spec(module)
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
