"""The source files that decide what a plugin computes: its module, its bases, and what they import from beside them.

Imports are read from the syntax tree, so nothing is imported here. Modules imported under a computed name are not seen.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from xai_framework.registry.discovery import source_of

# Part of every installation, with versions of their own: never a plugin's own source.
_FOUNDATION = ("torch", "torchvision", "numpy", "PIL")

# (module, file) -> sha256 when this process first took a plugin from that module.
_FIRST: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class Module:
    """A module and its file. ``folder`` is set for a local plugin file: there, neighbours are what lies beside it."""

    name: str
    file: Path
    folder: Path | None = None

    def neighbour(self, name: str) -> Module | None:
        """The module ``name`` if it belongs to the same top-level package, or lies in the same folder."""
        if not name.strip("."):
            return None
        if self.folder is not None:
            base = self.folder.joinpath(*name.split("."))
            files = (base.with_name(f"{base.name}.py"), base / "__init__.py")
            file = next((f for f in files if f.is_file()), None)
        else:
            file = source_of(name) if _top(name) == _top(self.name) and not is_foundation(name) else None
        return Module(name, file, self.folder) if file else None


def is_foundation(module: str) -> bool:
    """Whether a module belongs to Python, to the framework's plugin API or to the libraries below it."""
    top = _top(module)
    return top in sys.stdlib_module_names or top in _FOUNDATION or f"{module}.".startswith("xai_framework.core.")


def gather(modules: Iterable[Module]) -> dict[str, str]:
    """Path -> sha256 of the given modules and of their neighbours, transitively. Raises OSError, SyntaxError."""
    found: dict[str, str] = {}
    todo = list(modules)
    while todo:
        module = todo.pop()
        if str(module.file) in found:
            continue
        data = module.file.read_bytes()
        found[str(module.file)] = hashlib.sha256(data).hexdigest()
        if module.file.suffix == ".py":
            todo.extend(_imported(module, ast.parse(data, str(module.file))))
    return dict(sorted(found.items()))


def digest(path: Path) -> str:
    """sha256 of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def edited(module: str, files: Mapping[str, str]) -> list[str]:
    """Those of a module's ``files`` (path -> sha256) that are not what they were when this was first asked.

    Python keeps a module as it was imported: results after an edit would carry the new code's identity.
    """
    return [file for file, sha in files.items() if _FIRST.setdefault((module, file), sha) != sha]


def unchanged(recorded: Mapping[str, str]) -> bool:
    """Whether every recorded file still has its recorded sha256."""
    try:
        return all(digest(Path(path)) == expected for path, expected in recorded.items())
    except OSError:
        return False


def _imported(module: Module, tree: ast.Module) -> Iterator[Module]:
    """The neighbours a module imports, anywhere in its code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            candidates = [module.neighbour(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = import_base(module, node)
            # ``from package import x``: x is a module of the package, or a name in the package itself
            candidates = [module.neighbour(f"{base}.{a.name}") or module.neighbour(base) for a in node.names]
        else:
            continue
        yield from (found for found in candidates if found is not None)


def import_base(module: Module, node: ast.ImportFrom) -> str:
    """The absolute module named by ``from ... import``."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    up = node.level - (module.file.name == "__init__.py")
    return ".".join(parts[: len(parts) - up] + ([node.module] if node.module else []))


def _top(module: str) -> str:
    return module.partition(".")[0]
