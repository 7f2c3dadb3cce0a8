"""Studies that are killed in the middle, by engines that are not always installed: ``make engines``."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

METHODS = "[gradient,smoothgrad,gradcam,occlusion,lrp,integrated_gradients]"
STUDY = ["dataset.images=24", "unit=4", f"method={METHODS}", "report=false"]
HERE = Path(__file__).parent


def digest(outputs: Path) -> str:
    """One checksum over the names and contents of all merged files."""
    store = outputs / "store"
    files = sorted(store.rglob("maps-*.h5"))
    assert files
    lines = [f"{p.relative_to(store)} {hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def command(*arguments: str) -> list[str]:
    """``xai run`` of the study, or of another where ``arguments`` say so, in a process of its own."""
    given = {a.partition("=")[0] for a in arguments}
    rest = [a for a in STUDY if a.partition("=")[0] not in given]
    return [sys.executable, "-m", "xai_framework.cli.main", "run", *rest, *arguments]


def run(folder: Path, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """The study, to its end."""
    done = subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


_STARTED: list[subprocess.Popen[str]] = []


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The study, left to itself, in a process group of its own."""
    study = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    _STARTED.append(study)
    return study


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """A test that failed leaves no study running."""
    yield
    for study in _STARTED:
        if study.poll() is None:
            os.killpg(study.pid, signal.SIGKILL)
            study.communicate()
    _STARTED.clear()


def events(folder: Path, *kinds: str) -> list[dict[str, object]]:
    """What was told so far."""
    found = []
    for file in (folder / "outputs/runs/default").rglob("events/*.jsonl"):
        for line in file.read_text("utf-8").splitlines():
            event = json.loads(line)
            if event["event"] in kinds:
                found.append(event)
    return found


def until(condition: Callable[[], object], what: str, seconds: float = 90) -> None:
    """Wait for it."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"waited {seconds} s for {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the study as one process computes it."""
    folder = tmp_path_factory.mktemp("serial")
    run(folder, "executor=serial")
    return digest(folder / "outputs")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Slurm cluster of our own, all of it in one folder; one that is there already is left alone."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    lacking = [c for c in ("slurmctld", "slurmd", "sbatch", "munged") if not shutil.which(c, path=_PATH)]
    if lacking:
        pytest.skip(f"no {', '.join(lacking)} here: apt-get install slurm-wlm munge")
    base = tmp_path_factory.mktemp("cluster")
    base.chmod(0o755)
    for name in ("state", "spool"):
        (base / name).mkdir()
    config, key = base / "slurm.conf", base / "munge.key"
    text = (HERE / "slurm/slurm.conf.in").read_text("utf-8")
    for mark, value in (("BASE", str(base)), ("HOST", platform.node()), ("USER", getpass.getuser())):
        text = text.replace(f"@{mark}@", value)
    config.write_text(text)
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    own = ("socket", "pid-file", "log-file", "seed-file")
    names = {n: f"--{n}={base / 'munge'}.{n.partition('-')[0]}" for n in own}
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={key}", *names.values()],
        ["slurmctld", "-D", "-f", str(config)],
        ["slurmd", "-D", "-f", str(config)],
    ]
    before = os.environ.copy()
    os.environ |= {"SLURM_CONF": str(config), "PATH": _PATH}
    daemons = []
    try:
        for words in commands:
            with (base / f"{words[0]}.txt").open("w") as log:
                daemons.append(subprocess.Popen(words, stdout=log, stderr=log))
            time.sleep(1)
        until(lambda: "idle" in said("sinfo", "--noheader"), f"the cluster; see {base}", 30)
        yield
        said("scancel", "--user", getpass.getuser())
        until(lambda: not said("squeue", "--noheader"), "the end of all jobs", 30)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(20)
        os.environ.clear()
        os.environ |= before


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def said(*words: str) -> str:
    """What a command prints."""
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
