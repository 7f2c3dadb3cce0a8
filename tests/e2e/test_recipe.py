"""Every cell of a page has a command that computes it alone: to the same cell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import xai_framework as xai
from xai_framework.cli.main import main
from xai_framework.registry import Registry
from xai_framework.report.recipe import recipe_of, written

STUDY = [
    "run", "-m", "dataset.images=2", "dataset.objects=2", "backbone=shapes_resnet",
    "target=predicted,second_best", "seed=3", "method=[smoothgrad,gradcam,lime]", "method.smoothgrad.samples=2",
    "method.smoothgrad.inner=gradcam", "method.smoothgrad.inner.relu=false", "+method@method.other=gradcam",
    "method.other.layer=[last]", "method.other.relu=false", "method.lime.samples=8", "report=false", "study=whole",
]  # fmt: skip


def test_the_command_of_a_cell_computes_that_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(STUDY) == 0
    run, registry = xai.open_run("outputs/runs/whole"), Registry([])
    assert len(run.cells) == 8
    chosen = run.cells[:4] + run.cells[-1:]
    for cell in chosen:
        recipe = recipe_of(cell.facts, registry)
        words = shlex.split(recipe.command)
        assert words[:2] == ["xai", "run"]
        capsys.readouterr()
        assert main([*words[1:], "report=false", "study=one"]) == 0
        assert "nothing left to compute" in capsys.readouterr().out, recipe.command
    assert {c.facts["id"] for c in xai.open_run("outputs/runs/one").cells} == {c.facts["id"] for c in chosen}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0.1, "0.1"),
        ("last", "last"),
        ("null", '"null"'),
        ("tiger cat", '"tiger cat"'),
        ('a"b\\', '"a\\"b\\\\"'),
        ("12", '"12"'),
        (["last", 2], "[last,2]"),
        ({"a": [1, "b c"]}, '{a:[1,"b c"]}'),
    ],
)
def test_values_are_written_as_overrides_have_them(value: object, text: str) -> None:
    assert written(value) == text
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"key={text}"])
    assert override.value() == value or str(override.value()).strip('"') == value
