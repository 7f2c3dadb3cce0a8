"""The page's script: types, rules, and its size. Needs Node.js and `npm ci` in tests/javascript."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from xai_framework.report.page import script_text

ROOM = Path(__file__).parents[1] / "javascript"
MOST = 60_000
"""Bytes of code, comments apart."""


@pytest.fixture(scope="module")
def tools() -> Path:
    found = ROOM / "node_modules" / ".bin"
    if not (found / "eslint").exists():
        if os.environ.get("CI"):
            pytest.fail("no linter: npm ci in tests/javascript")
        pytest.skip("no linter: npm ci in tests/javascript")
    return found


def said(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOM, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_types_hold(tools: Path) -> None:
    assert said([str(tools / "tsc"), "-p", "tsconfig.json"]) == ""


def test_rules_are_kept(tools: Path) -> None:
    (ROOM / "page.js").write_text(script_text(), "utf-8")
    assert said([str(tools / "eslint"), "--max-warnings", "0", "page.js"]) == ""


def test_it_stays_small() -> None:
    code = re.sub(r"/\*\*.*?\*/ ?|^\s*//.*?$", "", script_text(), flags=re.DOTALL | re.MULTILINE)
    assert 40_000 < len(code.encode()) < MOST
