"""An array of Slurm jobs over the same work; what one of them leaves undone, another takes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_framework.core import errors
from xai_framework.core.errors import ConfigError, StoreError, XaiError
from xai_framework.core.executor import Executor
from xai_framework.core.params import param
from xai_framework.events import Event, EventLog, Follower
from xai_framework.executors.processes import Processes
from xai_framework.executors.work import Work
from xai_framework.plan import Plan, Unit
from xai_framework.stop import RESUMABLE, Stop
from xai_framework.store import write_atomic

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:@+-]*")
_CONSTRAINT = re.compile(r"[A-Za-z0-9_(\[][A-Za-z0-9_.,:@+&|*()\[\]-]*")
_LOOK = 1.0
"""Seconds between two looks at what the jobs have written."""
_ASK = 10.0
"""Seconds between two questions to Slurm, which serves many others."""
_FRUITLESS = 2
"""Arrays in a row that may end without a new map."""
_LAST_SECONDS = 120.0
"""How long jobs that were cancelled may take to store what they have; Slurm kills them after 30 unless told else."""
_TIME_LIMIT = "SIGUSR1"
_SIGNAL_BEFORE_END = 60
"""Seconds before the time limit at which a job is told."""


@dataclass(frozen=True)
class Slurm(Executor):
    """Jobs of a Slurm cluster: an array of ``workers`` that all take what is missing until nothing is left.

    The command that submits them shows how they get on, submits again what jobs that died have left, and cancels them
    when it is interrupted. A job that nears its time limit stores what it has and queues up again. Results, data and
    this environment must be in the same place on all machines. Needs the extra ``slurm``.
    """

    workers: int = param(4, ge=1, le=1000, doc="jobs at once, as many as there are units at most")
    partition: str | None = param(None, doc="null: the cluster's default, as for all that follow")
    time: int | None = param(None, ge=2, le=60 * 24 * 365, doc="limit of one job, in minutes")
    cpus: int | None = param(None, ge=1, le=1024, doc="processor cores of one job; null: as its threads need")
    memory: float | None = param(None, gt=0, le=100_000, doc="of one job, in GB")
    gpus: int | None = param(None, ge=0, le=16, doc="of one job; null: one where device=cuda, else none")
    account: str | None = param(None, doc="who is charged")
    qos: str | None = param(None, doc="quality of service")
    constraint: str | None = param(None, doc="features of the machines, as a100|h100")
    requeue: bool = param(True, doc="whether a job that was preempted, or is out of time, queues up again")
    timeout: float = param(900.0, gt=0, doc="seconds without a pass or a result after which a worker counts as hung")

    def __post_init__(self) -> None:
        """What is handed to Slurm is plain words."""
        super().__post_init__()
        for name in ("partition", "account", "qos", "constraint"):
            value = getattr(self, name)
            if value is not None and not (_CONSTRAINT if name == "constraint" else _PLAIN).fullmatch(value):
                fix = "letters, digits and _.,:@+-" + ("&|*()[]" if name == "constraint" else "")
                raise ConfigError(f"{value!r} is nothing that Slurm calls so", where=f"executor.{name}", fix=fix)

    def run(self, work: Work) -> None:
        """See :class:`Executor`."""
        if importlib.util.find_spec("submitit") is None:
            fix = 'pip install "xai-framework[slurm]"'
            raise ConfigError("the package submitit is not installed", where="executor=slurm", fix=fix)
        lacking = [c for c in ("sbatch", "srun", "squeue", "scancel") if shutil.which(c) is None]
        if lacking:
            fix = "log in to the cluster, or use executor=processes"
            raise ConfigError(f"no Slurm here: no command {', '.join(lacking)}", where="executor=slurm", fix=fix)
        _Driver(self, work).run()

    @property
    def processes(self) -> int:
        """Worker processes of one job: one a GPU."""
        return max(1, self.gpus or 1)

    def parameters(self, work: Work) -> dict[str, Any]:
        """What submitit is told."""
        settings = work.plan.groups[0].job.settings
        gpus = self.gpus if self.gpus is not None else int(settings.device.startswith("cuda"))
        cpus = self.cpus or settings.threads * self.processes
        notice = _SIGNAL_BEFORE_END if self.time is None or self.time > 4 else 15  # Slurm may be a minute early
        return {
            "job_name": "xai-" + re.sub(r"[^A-Za-z0-9_.-]", "_", settings.study),
            "partition": self.partition,
            "time": self.time,
            "cpus_per_task": cpus,
            "mem": None if self.memory is None else f"{max(1, round(self.memory * 1024))}MB",
            "gpus_per_node": gpus or None,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "wckey": None,
            "array_parallelism": self.workers,
            # srun does not take the number from sbatch
            "srun_args": [f"--cpus-per-task={cpus}"],
            "additional_parameters": {
                "signal": f"{_TIME_LIMIT.removeprefix('SIG')}@{notice}",
                ("requeue" if self.requeue else "no-requeue"): True,
            },
        }


@dataclass(frozen=True)
class _Share:
    """What the jobs of an array are given, in one file."""

    plan: Plan
    plugin_files: tuple[str, ...]
    folder: Path
    news: Path
    processes: int
    timeout: float
    requeue: bool
    total: int


class _Driver:
    """Submits arrays, and hears what they say through files: ``news`` holds the jobs' events, which are passed on."""

    def __init__(self, slurm: Slurm, work: Work) -> None:
        self._slurm, self._work = slurm, work
        stamp = f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        self._folder = _printable((work.folder / "slurm" / stamp).absolute())
        self._follower = Follower(self._folder)
        self._array, self._why = "", ""
        self._ended = self._finished = self._out_of_time = False

    def run(self) -> None:
        """Until nothing is missing, or arrays end without a result."""
        fruitless = 0
        left = self._left()
        while left and not self._work.stop.asked:
            before = self._work.outcome.maps
            self._submit(min(self._slurm.workers, len(left)))
            try:
                self._watch()
            finally:
                self._cancel()
            if self._finished:  # also what a job on another machine could not do
                self._work.outcome.errors.clear()
                break
            if -1 in self._work.outcome.errors:
                break
            left = self._left()
            fruitless = 0 if self._work.outcome.maps > before else fruitless + 1
            if left and not self._work.stop.asked and fruitless >= _FRUITLESS:
                raise self._gave_up(len(left))
        self._clean_up()
        if self._work.outcome.errors:
            raise next(iter(self._work.outcome.errors.values()))

    def _left(self) -> list[Unit]:
        """Missing units, but for backbones that cannot be used."""
        work = self._work
        groups = [group for g, group in enumerate(work.plan.groups) if g not in work.outcome.errors]
        return [unit for group in groups for unit in group.units(group.job.settings.unit)]

    def _submit(self, workers: int) -> None:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        slurm, work = self._slurm, self._work
        share = _Share(
            plan=work.plan,
            plugin_files=work.plugin_files,
            folder=work.folder,
            news=self._folder,
            processes=slurm.processes,
            timeout=slurm.timeout,
            requeue=slurm.requeue,
            total=work.total,
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "work.pkl"  # once, not in each job's own pickle: lists of images are long
        write_atomic(file, pickle.dumps(share))
        submitting = SlurmExecutor(self._folder)
        submitting.update_parameters(**slurm.parameters(work))
        try:
            with _outside_of_a_job():
                jobs = submitting.map_array(run_share, [str(file)] * workers)
        except (FailedJobError, FailedSubmissionError, OSError, subprocess.SubprocessError) as error:
            words = " ".join(str(error).split())
            raise ConfigError(f"Slurm does not take the job ({words[-300:]})", where="executor=slurm") from None
        self._array = jobs[0].job_id.split("_")[0]
        print(f"slurm: job {self._array}, {workers} workers; logs: {self._folder}", flush=True)
        self._work.tell({"event": "submitted", "job": self._array, "workers": workers, "logs": str(self._folder)})

    def _watch(self) -> None:
        """Until the jobs of the array have ended, or there is nothing for them to do."""
        asked = time.monotonic()
        while True:
            self._relay()
            if self._work.stop.asked:
                self._see_out()
                return
            if self._finished:
                return
            if time.monotonic() - asked > _ASK or self._ended:
                asked, self._ended = time.monotonic(), False
                if not self._queued():
                    self._relay()
                    return
            time.sleep(_LOOK)

    def _see_out(self) -> None:
        """Cancelled jobs store what they have."""
        self._cancel()
        limit = time.monotonic() + _LAST_SECONDS
        while self._queued() and time.monotonic() < limit:
            time.sleep(_LOOK)
            self._relay()
        self._relay()

    def _queued(self) -> bool:
        """Whether Slurm still has one of our jobs, waiting or running; yes also where it does not answer."""
        command = ["squeue", "--noheader", "--array", "--jobs", self._array, "--format", "%i|%T|%r"]
        answer = _asked(command)
        if answer is None or answer.returncode != 0:
            return answer is None or "Invalid job id" not in answer.stderr
        waiting = [line.split("|") for line in answer.stdout.splitlines() if line.count("|") == 2]
        for job, state, why in waiting:
            if state == "PENDING" and why != self._why and why not in ("None", "Priority", "Resources", "BeginTime"):
                self._why = why
                print(f"slurm: job {job} waits: {why}", flush=True)
        return bool(waiting)

    def _cancel(self) -> None:
        if self._array:
            _asked(["scancel", self._array])

    def _relay(self) -> None:
        """Pass on what jobs say. They do not write to the run's own log, where readers would hear it twice."""
        for event in self._follower.new():
            kind = event["event"]
            if kind == "raised":
                self._raised(event)
            elif kind == "job_ended":
                self._ended = True
                self._finished |= event.get("how") == "finished"
                self._out_of_time = event.get("how") == _TIME_LIMIT
            if kind in ("stored", "stopped", "given_up"):
                maps = int(event.get("maps", 0))
                self._work.count(maps, int(event.get("failed", maps if kind == "given_up" else 0)))
            self._work.tell(event)

    def _raised(self, event: Event) -> None:
        kind = getattr(errors, str(event.get("kind")), XaiError)
        if not (isinstance(kind, type) and issubclass(kind, XaiError)):
            kind = XaiError
        error = kind(str(event.get("what")), where=str(event.get("where", "")), fix=str(event.get("fix", "")))
        self._work.outcome.errors.setdefault(int(event.get("group", -1)), error)
        if isinstance(error, StoreError):
            self._work.stop.ask("results cannot be stored")

    def _gave_up(self, left: int) -> XaiError:
        logs = sorted(self._folder.glob("*_log.err"), key=lambda p: p.stat().st_mtime)
        said = [line for log in logs[-1:] for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        last = f"; the last one's last words: {said[-1].strip()[:200]}" if said else ""
        fix = "see there what happens to them; the same command goes on from here"
        if self._out_of_time:
            last, fix = ": their time is over before anything is stored", "a longer executor.time=, or a smaller unit="
        where = str(logs[-1] if logs else self._folder)
        return XaiError(f"{left} units are missing, and the jobs end without a result{last}", where=where, fix=fix)

    def _clean_up(self) -> None:
        """Keep the logs only."""
        for file in [*self._folder.glob("*.pkl"), *self._folder.glob("*.sh")]:
            with contextlib.suppress(OSError):
                file.unlink()


def _printable(folder: Path) -> Path:
    """Raises ConfigError for a name that would mean something in a batch script."""
    if "%" in str(folder) or "\\" in str(folder) or not str(folder).isprintable():
        fix = "no %, no backslash and no control characters"
        raise ConfigError(f"{str(folder)!r} cannot be named to Slurm", where="outputs", fix=fix)
    return folder


def _asked(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    """The answer of one of Slurm's commands; None where there is none."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None


@contextlib.contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Without what a job that submits others would hand on: its own place and size."""
    names = [n for n in os.environ if n.startswith(("SLURM_", "SRUN_")) and n != "SLURM_CONF"]
    kept = {n: os.environ.pop(n) for n in names if "SLURM_JOB_ID" in os.environ or n == "SLURM_JOB_ID"}
    try:
        yield
    finally:
        os.environ.update(kept)


def run_share(file: str) -> None:
    """What each job runs: a driver with workers of its own, which takes what no other has claimed."""
    share: _Share = pickle.loads(Path(file).read_bytes())
    stop = Stop()
    # Slurm signals a job by several ways at once, so a second signal is no second request; it kills those who linger
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        signal.signal(getattr(signal, name), lambda number, _frame: stop.ask(signal.Signals(number).name))
    me = "_".join(os.environ[n] for n in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID") if n in os.environ)
    me = me or os.environ.get("SLURM_JOB_ID", str(os.getpid()))
    log = EventLog(share.news, f"slurm-{me}")

    def tell(event: Event) -> None:
        if event["event"] != "waiting":  # for another job: the submitting driver waits for both
            worker = str(event.get("worker", "")) if share.processes > 1 else ""
            log({**event, "worker": f"{log.worker} {worker}".strip()})

    # not what was missing when the job was submitted: it may have waited for hours, or run before
    units = [group.units(group.job.settings.unit) for group in share.plan.groups]
    work = Work(share.plan, units, share.plugin_files, share.folder, stop, tell, total=share.total)
    tell({"event": "job_began", "host": os.uname().nodename, "pid": os.getpid(), "units": sum(map(len, units))})
    try:
        if any(units):
            Processes(workers=share.processes, timeout=share.timeout).run(work)
    except XaiError as error:
        if not work.outcome.errors:
            work.outcome.errors[-1] = error
        for group, one in work.outcome.errors.items():
            facts = {"kind": type(one).__name__, "what": one.what, "where": one.where, "fix": one.fix}
            tell({"event": "raised", "group": group, **facts})
    if not stop.asked:
        tell({"event": "job_ended", "how": "error" if work.outcome.errors else "finished"})
        return
    tell({"event": "job_ended", "how": stop.reason})
    # a job that got nothing done would get nothing done again
    if stop.reason == _TIME_LIMIT and share.requeue and work.outcome.maps:
        _asked(["scontrol", "requeue", me])
    sys.exit(RESUMABLE)
