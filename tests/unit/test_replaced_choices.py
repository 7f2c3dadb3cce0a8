"""A plugin chosen on the command line in place of an experiment's does not inherit the other's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xai_framework.cli.run import composed_jobs
from xai_framework.core import ConfigError
from xai_framework.registry import Registry
from xai_framework.spec.compose import job_of

REGISTRY = Registry()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def job(*overrides: str) -> Any:
    configs = composed_jobs(list(overrides), REGISTRY, [])
    assert configs is not None
    return job_of(configs[0], REGISTRY)


def test_the_parameters_of_a_replaced_plugin_are_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    made = job("experiment=reference/r2_vgg16", "backbone=shapes_vgg")
    assert made.backbone["name"] == "shapes_vgg"
    assert "left out, since backbone= was given: backbone.arch" in capsys.readouterr().err


def test_so_are_methods_that_are_no_longer_chosen() -> None:
    assert list(job("experiment=gallery", "method=[gradient]").methods) == ["gradient"]


def test_what_is_typed_beside_it_must_exist() -> None:
    with pytest.raises(ConfigError, match="arch"):
        job("experiment=reference/r2_vgg16", "backbone=shapes_vgg", "backbone.arch=vgg16")


def test_values_of_the_same_plugin_stay() -> None:
    assert job("experiment=gallery", "dataset=shapes").dataset["objects"] == 4
