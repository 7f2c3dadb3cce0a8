"""A sweep by another launcher of Hydra's: each job in a process of its own, killed, and finished by other means."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.engines.conftest import digest, events, run, start, until

SWEEP = ("-m", "backbone=shapes_vgg,shapes_resnet")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def test_a_sweep_of_joblibs_that_is_killed_twice(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed")
    serial, killed = tmp_path / "serial", tmp_path / "killed"
    for folder in (serial, killed):
        folder.mkdir()
    run(serial, *SWEEP, "executor=serial")
    for _ in range(2):
        before = len(events(killed, "stored"))
        study = start(killed, *SWEEP, *JOBLIB)
        until(lambda before=before: len(events(killed, "stored")) >= before + 2, "two more units")  # type: ignore[misc]
        os.killpg(study.pid, signal.SIGKILL)
        study.communicate(timeout=60)
    assert not list((killed / "outputs/store").rglob("maps-*.h5"))
    run(killed, *SWEEP, "executor=processes", "executor.workers=2")
    assert digest(killed / "outputs") == digest(serial / "outputs")


def test_a_sweep_of_joblibs_to_its_end(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed")
    few = ("dataset.images=4", "method=[gradient,gradcam]")
    run(tmp_path, *SWEEP, *JOBLIB, *few)
    planned = tmp_path / "planned"
    planned.mkdir()
    run(planned, *SWEEP, *few)
    assert digest(tmp_path / "outputs") == digest(planned / "outputs")
