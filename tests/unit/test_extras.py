"""Executors whose libraries are extras: known, checked and refused in plain words where those are not installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xai_framework.core.errors import ConfigError
from xai_framework.core.executor import Executor
from xai_framework.registry import Registry

EXTRAS = {"slurm": "submitit", "ray": "ray"}


def built(config: dict[str, Any]) -> Executor:
    made = Registry().build("executor", config, "executor")
    assert isinstance(made, Executor)
    return made


@pytest.mark.parametrize(("name", "library"), EXTRAS.items())
def test_a_missing_extra_is_named(name: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == library else find(n, *a))
    with pytest.raises(
        ConfigError, match=rf'the package {library} is not installed; pip install "xai-framework\[{name}\]"'
    ):
        built({"name": name}).run(None)


@pytest.mark.parametrize("name", EXTRAS)
def test_their_modules_import_no_library(name: str) -> None:
    code = (
        f"import sys, xai_framework.executors.{name}; "
        "sys.exit(', '.join({'torch', 'ray', 'submitit'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("partition", "a b"),
        ("partition", "a\n#SBATCH --uid=root"),
        ("partition", "-x"),
        ("partition", ""),
        ("account", "$(id)"),
        ("qos", "a;b"),
        ("qos", "high\n"),
        ("constraint", "a100 --uid=root"),
        ("constraint", "`id`"),
        ("workers", 0),
        ("time", 1),
        ("memory", 0),
        ("gpus", -1),
    ],
)
def test_slurm_takes_plain_words(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        built({"name": "slurm", key: value})


def test_slurm_takes_what_clusters_use() -> None:
    built(
        {"name": "slurm", "partition": "gpu-a100,gpu_h100", "account": "project.x", "constraint": "[a100|h100]&nvme*2"}
    )


def test_no_config_names_a_ray_cluster() -> None:
    with pytest.raises(ConfigError, match="address"):
        built({"name": "ray", "address": "example.org:6379"})


def test_a_folder_that_slurm_would_read_as_something_else() -> None:
    from xai_framework.executors.slurm import _printable

    for name in ("a%jb", "a\nrm -rf x", "a\\b", "a\x1b"):
        with pytest.raises(ConfigError, match="outputs"):
            _printable(Path(name))
    _printable(Path("it's mine/$(x)"))
