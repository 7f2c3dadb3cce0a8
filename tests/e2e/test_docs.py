"""The documentation is true: its blocks run, and every plugin stands in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str, str]]:
    return BLOCK.findall((ROOT / page).read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if any(k in ("bash", "python") for k, _, _ in blocks(p))])
def test_blocks_run(page: str, tmp_path: Path) -> None:
    from PIL import Image
    from xai_plugins.datasets.shapes import Shapes

    picture = Shapes(images=1)[0].image
    assert isinstance(picture, Image.Image)
    picture.save(tmp_path / "photo.jpg")
    np.savez(tmp_path / "images.npz", images=np.zeros((1, 8, 8, 3), np.uint8))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
    }
    python = ""  # blocks of a page go on where the one before ended
    for kind, options, text in blocks(page):
        if "no-run" in options:
            continue
        file = re.search(r"file=(\S+)", options)
        if file:
            (tmp_path / file[1]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file[1]).write_text(text, "utf-8")
        elif kind == "bash":
            script = "\n".join(line for line in text.splitlines() if not line.startswith("make "))
            run(["bash", "-euc", script], tmp_path, environment)
        elif kind == "python":
            python += text
    if python:
        run([sys.executable, "-c", python], tmp_path, environment)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


def test_generated_pages_are_up_to_date() -> None:
    run([sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], ROOT, dict(os.environ))


def test_every_plugin_is_documented_with_each_parameter() -> None:
    from xai_framework.registry import KINDS, Registry

    text = "\n".join((ROOT / "docs" / name).read_text("utf-8") for name in ("methods.md", "plugins.md"))
    for kind in KINDS:
        for schema in Registry().schemas(kind):
            assert not schema.broken, schema.broken
            assert f"## {schema.name}\n" in text
            assert schema.doc
            assert all(p.doc for p in schema.params), schema.name
            if kind == "method":
                assert re.search(r"\d{4}", schema.headline), f"{schema.name}: name the paper in the module's first line"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text("utf-8")):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_a_picture_is_reached_within_twelve_lines() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert any("](docs/images/" in line for line in lines[:12])
