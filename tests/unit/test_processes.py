"""Worker processes that cannot start, that outlive their driver, and pictures that move while a run goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from xai_framework.cli.run import composed_jobs
from xai_framework.core.errors import ConfigError, PluginError
from xai_framework.executors.processes import Processes
from xai_framework.executors.serial import Serial
from xai_framework.executors.work import Work
from xai_framework.plan import plan
from xai_framework.registry import Registry
from xai_framework.spec.compose import job_of
from xai_framework.stop import Stop

REGISTRY = Registry()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def work(*words: str) -> Work:
    configs = composed_jobs([*words, "method=[gradient]"], REGISTRY, [])
    assert configs is not None
    study = plan([job_of(c, REGISTRY) for c in configs], REGISTRY)
    units = [g.units(g.job.settings.unit) for g in study.groups]
    return Work(study, units, (), Path("run"), Stop(), lambda _event: None)


def stored() -> list[Path]:
    return list(Path("outputs").rglob("*.h5"))


@pytest.mark.timeout(60)
def test_workers_that_die_while_importing_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = work("dataset.images=4")
    broken = tmp_path / "broken"
    broken.mkdir()
    # spawned workers take over the path of this process, which has the true module already
    (broken / "torch.py").write_text(
        "import os\nopen(os.environ['XAI_STARTS'], 'a').write('.')\nos._exit(7)\n", encoding="utf-8"
    )
    monkeypatch.setenv("XAI_STARTS", str(tmp_path / "starts"))
    monkeypatch.syspath_prepend(str(broken))
    with pytest.raises(PluginError, match=r"worker processes do not start .*7.*executor=serial"):
        Processes(workers=1).run(ready)
    assert (tmp_path / "starts").read_text() == "...."
    assert not stored()


_DRIVER = """
import multiprocessing, os, sys, time, types
from xai_framework.executors import processes

def hanging(pipe):
    class Runner:
        def __init__(self, *_): pass
        def compute(self, piece):
            print(os.getpid(), flush=True)
            time.sleep(600)
    module = types.ModuleType("xai_framework.executors.runner")
    module.Runner = Runner
    sys.modules[module.__name__] = module  # the true one needs torch
    processes._LAST_SECONDS = 0.1
    processes.worker_main(pipe, (), (), "cpu", 1)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=hanging, args=(theirs,), daemon=True).start()
    assert ours.recv() == "ready"
    ours.send("a piece")
    time.sleep(600)
"""


@pytest.mark.timeout(60)
def test_a_worker_that_hangs_ends_when_its_driver_is_killed(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(_DRIVER, encoding="utf-8")
    with subprocess.Popen([sys.executable, "driver.py"], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        worker = int(driver.stdout.readline())
        os.kill(worker, 0)  # it is there, and hangs
        driver.kill()
        driver.wait()
        # the worker has the pipe too: it closes when both are gone
        limit = time.monotonic() + 20
        while time.monotonic() < limit and alive(worker):
            time.sleep(0.05)
        left = alive(worker)
        if left:
            os.kill(worker, signal.SIGKILL)
    assert not left, "the worker outlived its driver"


def alive(process: int) -> bool:
    """A zombie, which nobody has waited for yet, is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("gone", "said"), [("", "it holds 3 images, not 2"), ("c.png", "'a.png' stands where 'b.png' stood")]
)
def test_a_picture_that_is_added_while_a_run_goes_on_shifts_no_names(tmp_path: Path, gone: str, said: str) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, colour in (("b.png", "red"), ("c.png", "blue")):
        Image.new("RGB", (96, 96), colour).save(photos / name)
    planned = work("dataset=folder", "dataset.path=photos")
    Image.new("RGB", (96, 96), "green").save(photos / "a.png")
    if gone:  # as many as before, of which each stands elsewhere
        (photos / gone).unlink()
    with pytest.raises(ConfigError, match=re.escape(f"dataset: changed after the run was planned: {said}")):
        Serial().run(planned)
    assert not stored()
    again = work("dataset=folder", "dataset.path=photos")
    assert [row.id for row in again.plan.groups[0].manifest.rows] == ["a.png", "b.png", "c.png"][: 2 if gone else 3]
    Serial().run(again)
    assert len(stored()) == 1
