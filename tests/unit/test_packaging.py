"""What a wheel holds: the list of packages names every folder that ships something."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOMES = {"xai_framework": "xai_framework", "conf": "xai_framework.conf", "plugins/xai_plugins": "xai_plugins"}


def test_every_folder_that_ships_something_is_a_listed_package() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"])
    found = set()
    for home, package in HOMES.items():
        for file in (ROOT / home).rglob("*"):
            if file.suffix in (".py", ".yaml"):
                found.add(".".join((package, *file.parent.relative_to(ROOT / home).parts)))
    assert found == {p for p in listed if not p.startswith("hydra_plugins")}
