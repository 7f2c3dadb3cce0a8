"""A glance at a plugin through its source text: for listings, which must not wait for torch.

What cannot be seen this way (an import that fails deeper down, a class that is not a usable plugin) shows when the
plugin is loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xai_framework.registry.discovery import Entry, find_spec, source_of
from xai_framework.registry.names import bad_name
from xai_framework.registry.schema import first_paragraph
from xai_framework.registry.sources import Module, import_base

_MOST_REEXPORTS = 5


@dataclass(frozen=True)
class Outline:
    """One line of a listing. ``broken`` is why the plugin certainly cannot be used, as far as its text tells."""

    kind: str
    name: str
    summary: str
    distribution: str
    distribution_version: str
    broken: str = ""


def outline(entries: Sequence[Entry]) -> Outline:
    """The outline of all entries that claim one name."""
    first = entries[0]
    summary, broken = "", bad_name(first.name)
    if len(entries) > 1:
        broken = "defined more than once: " + " and ".join(e.place for e in entries)
    elif not broken:
        summary, broken = _look(first.module, first.attribute, first.file)
    where = first.file.name if first.file is not None else first.distribution
    return Outline(first.kind, first.name, summary, where, first.distribution_version, broken)


def _look(module: str, class_name: str, file: Path | None, depth: int = 0) -> tuple[str, str]:
    """(one line of documentation, reason why it is broken) of a class; either may be empty."""
    if not module:
        return "", "its entry point is not module:Class"
    try:
        path = file or source_of(module)
        if path is None:
            return "", f"no module {module}"
        tree = ast.parse(path.read_bytes(), str(path))
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        return "", f"{type(error).__name__}: {error}"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return first_paragraph(ast.get_docstring(node) or ""), _missing_import(tree)
        if isinstance(node, ast.ImportFrom) and depth < _MOST_REEXPORTS:
            for alias in node.names:
                if class_name == (alias.asname or alias.name):
                    return _look(import_base(Module(module, path), node), alias.name, None, depth + 1)
    return "", _missing_import(tree)


def _missing_import(tree: ast.Module) -> str:
    """The first package that a module imports unconditionally and that is not installed."""
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            if find_spec(top) is None:
                return f"{top} is not installed"
    return ""
