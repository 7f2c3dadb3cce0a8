"""executor=slurm on a real cluster of one machine: jobs come back, die, are cancelled and do nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.engines.conftest import digest, events, run, said, start, until

pytestmark = pytest.mark.usefixtures("slurm")
SLURM = ("executor=slurm", "executor.workers=2")


def both_have_stored(folder: Path) -> bool:
    return len({e["worker"] for e in events(folder, "stored")}) == 2


def job_of(folder: Path) -> str:
    return str(events(folder, "submitted")[0]["job"])


def main_process(folder: Path, job: str) -> int:
    return next(int(str(e["pid"])) for e in events(folder, "job_began") if e["worker"] == f"slurm-{job}")


def test_a_job_that_is_requeued_and_one_that_is_killed(tmp_path: Path, expected: str) -> None:
    study = start(tmp_path, *SLURM)
    until(lambda: both_have_stored(tmp_path), "both jobs to have stored something")
    job = job_of(tmp_path)
    subprocess.run(["scontrol", "requeue", f"{job}_0"], check=True)
    os.kill(main_process(tmp_path, f"{job}_1"), signal.SIGKILL)
    printed, _ = study.communicate(timeout=200)
    assert study.returncode == 0, printed
    began = [e["worker"] for e in events(tmp_path, "job_began")]
    assert began.count(f"slurm-{job}_0") >= 2
    assert digest(tmp_path / "outputs") == expected
    assert not said("squeue", "--noheader")


def test_a_job_near_its_time_limit_stores_and_queues_up_again(tmp_path: Path, expected: str) -> None:
    study = start(tmp_path, "executor=slurm", "executor.workers=1")
    until(lambda: events(tmp_path, "stored"), "a unit")
    job = job_of(tmp_path)
    subprocess.run(["scancel", "--signal=USR1", job], check=True)  # as Slurm does it a minute before the end
    printed, _ = study.communicate(timeout=200)
    assert study.returncode == 0, printed
    assert "SIGUSR1" in {e["how"] for e in events(tmp_path, "job_ended")}
    assert [e["worker"] for e in events(tmp_path, "job_began")] == [f"slurm-{job}"] * 4  # said by it, and passed on
    assert digest(tmp_path / "outputs") == expected


def test_when_all_jobs_are_killed_the_rest_is_submitted_again(tmp_path: Path, expected: str) -> None:
    study = start(tmp_path, *SLURM, "executor.requeue=false")
    until(lambda: both_have_stored(tmp_path), "both jobs to have stored something")
    job = job_of(tmp_path)
    for place in (0, 1):
        os.kill(main_process(tmp_path, f"{job}_{place}"), signal.SIGKILL)
    printed, _ = study.communicate(timeout=200)
    assert study.returncode == 0, printed
    assert len(events(tmp_path, "submitted")) == 2
    assert digest(tmp_path / "outputs") == expected


def test_an_interrupt_cancels_the_jobs_which_store_what_they_have(tmp_path: Path, expected: str) -> None:
    study = start(tmp_path, *SLURM)
    until(lambda: both_have_stored(tmp_path), "both jobs to have stored something")
    until(lambda: events(tmp_path, "progress", "started"), "something at hand")
    os.kill(study.pid, signal.SIGINT)
    printed, _ = study.communicate(timeout=60)
    assert study.returncode == 75, printed
    assert {e["how"] for e in events(tmp_path, "job_ended")} == {"SIGTERM"}
    assert not said("squeue", "--noheader")
    run(tmp_path, "executor=serial")
    assert digest(tmp_path / "outputs") == expected


def test_what_concerns_a_whole_backbone_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, *SLURM, "device=cuda:97", "executor.gpus=0", expect=1)
    assert "error[config] device: no device 'cuda:97' here; available: cpu" in done.stderr


def test_jobs_that_only_die_are_not_submitted_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = "import os, sys\nif 'SLURM_JOB_ID' in os.environ:\n    print('alas', file=sys.stderr)\n    os._exit(9)\n"
    (tmp_path / "sitecustomize.py").write_text(dies)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run(tmp_path, *SLURM, expect=1)
    assert "6 units are missing, and the jobs end without a result" in done.stderr
    assert "_log.err: " in done.stderr
    assert done.stdout.count("slurm: job") == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("executor.partition=nowhere", "invalid partition specified"),
        ("executor.partition='x; touch y'", "executor.partition: 'x; touch y' is nothing that Slurm calls so"),
        ("executor.account='--wrap=id'", "executor.account"),
        ("executor.gpus=1", "Slurm does not take the job"),
        ("executor.time=1", "executor.time"),
        ("outputs='a%jb'", "cannot be named to Slurm"),
    ],
)
def test_wrong_words(tmp_path: Path, wrong: str, words: str) -> None:
    done = run(tmp_path, *SLURM, wrong, expect=1)
    assert words in done.stderr


def test_a_folder_with_spaces_and_quotes(tmp_path: Path, expected: str) -> None:
    folder = tmp_path / 'it\'s "mine" $(touch x) `touch y`'
    folder.mkdir()
    run(folder, *SLURM)
    assert digest(folder / "outputs") == expected
    assert {p.name for p in folder.iterdir()} == {"outputs"}
