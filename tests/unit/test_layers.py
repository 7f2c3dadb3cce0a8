"""The house's rule of who may import whom, held by reading the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "xai_framework"

# room -> rooms it may import; a room may always import itself
ALLOWED = {
    "core": set(),
    "handout": {"core"},
    "capture": {"core"},
    "rng": {"core", "handout"},
    "stop": set(),
    "events": set(),
    "progress": {"events"},
    "estimate": {"core"},
    "registry": {"core"},
    "meter": set(),
    "memory": set(),
    "fast": {"core", "memory"},
    "passes": {"core", "capture", "meter"},
    "probe": {"core", "capture", "fast", "handout", "meter", "passes"},
    "guard": {"core"},
    "space": {"core"},
    "untrained": {"core"},
    "spec": {"core", "registry"},
    "store": {"core"},
    "identity": {"core", "registry"},
    "manifest": {"core", "store"},
    "plan": {"core", "registry", "spec", "store", "identity", "manifest"},
    "records": {"core", "store"},
    "attempt": {"core", "memory", "rng", "probe", "guard", "stop", "store"},
    "judge": {"core", "probe", "rng", "store"},
    "engine": {
        *(
            "core",
            "rng",
            "handout",
            "judge",
            "fast",
            "memory",
            "probe",
            "guard",
            "attempt",
            "records",
            "stop",
            "store",
            "meter",
        ),
    },
    "executors": {
        *(
            "core",
            "memory",
            "attempt",
            "engine",
            "estimate",
            "events",
            "judge",
            "plan",
            "probe",
            "registry",
            "space",
            "spec",
            "statistics",
            "stop",
            "store",
        ),
        "untrained",
    },
    "gate": {"core", "executors", "manifest", "plan", "registry", "spec", "stop", "store"},
    "report": {"core", "registry", "statistics", "store"},
    "statistics": {"core", "store"},
    "figures": {"core", "registry", "report", "statistics", "store"},
    "study": {
        *(
            "core",
            "events",
            "executors",
            "gate",
            "identity",
            "manifest",
            "plan",
            "progress",
            "registry",
            "report",
            "spec",
        ),
        *("stop", "store"),
    },
    "testing": {"core", "probe", "rng", "handout", "registry", "judge"},
    "api": {"core", "attempt", "engine", "registry", "space", "store", "report"},
    "cli": {
        *(
            "core",
            "events",
            "executors",
            "figures",
            "gate",
            "plan",
            "progress",
            "registry",
            "report",
            "spec",
            "statistics",
            "stop",
        ),
        *("store", "study"),
    },
}
# rooms that must not import torch when they are imported: help, listing and a second run never pay for it
LIGHT = {
    "stop",
    "events",
    "progress",
    "estimate",
    "core",
    "registry",
    "spec",
    "store",
    "identity",
    "manifest",
    "plan",
    "gate",
    "report",
    "figures",
    "study",
    "cli",
}


def room_of(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    found: set[str] = set()
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_room_imports_only_rooms_above(path: Path) -> None:
    room = room_of(path)
    if room == "__main__":
        return
    used = {n.split(".")[1] for n in imports(path) if n.startswith("xai_framework.")}
    used &= set(ALLOWED) | {p.stem for p in PACKAGE.glob("*.py")}
    assert used - ALLOWED[room] - {room} == set(), f"{room} may import {sorted(ALLOWED[room])}"


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) in LIGHT], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_light_rooms_do_not_import_torch(path: Path) -> None:
    assert not {n.split(".")[0] for n in imports(path, top_level_only=True)} & {"torch", "torchvision"}


def test_rooms_have_no_cycles() -> None:
    order: list[str] = []
    left = dict(ALLOWED)
    while left:
        free = [room for room, uses in left.items() if not uses & set(left)]
        assert free, f"import cycle among {sorted(left)}"
        order += free
        left = {room: uses for room, uses in left.items() if room not in free}


@pytest.mark.parametrize("path", sorted((ROOT / "plugins" / "xai_plugins").rglob("*.py")), ids=lambda p: p.stem)
def test_plugins_import_only_the_core(path: Path) -> None:
    used = {n for n in imports(path) if n.startswith("xai_framework")}
    assert all(n == "xai_framework.core" or n.startswith("xai_framework.core.") for n in used), used


def test_only_the_store_imports_h5py() -> None:
    users = {room_of(p) for p in FILES if any(n.split(".")[0] == "h5py" for n in imports(p))}
    assert users == {"store"}


def test_core_exports_what_its_type_imports_say() -> None:
    import xai_framework.core as core

    tree = ast.parse((PACKAGE / "core" / "__init__.py").read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    typed = {a.asname for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert typed == set(core.__all__)
    for name in core.__all__:
        assert getattr(core, name) is not None
