"""Actors of a Ray cluster, on this machine or many; one that dies is replaced, and what it was at is done again."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import re
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xai_framework.core.errors import ConfigError, XaiError
from xai_framework.core.executor import Executor
from xai_framework.core.params import param
from xai_framework.events import Event
from xai_framework.executors.drive import Said, attempted, drive, said_of
from xai_framework.executors.work import Piece, Work
from xai_framework.stop import Stop

_NEWS = 1.0
"""Seconds between two questions to a worker for its events."""
_LAST_SECONDS = 6.0
"""How long workers that were asked to stop may take; then they are killed."""
_MISBEGUN = 5
"""Workers that may end before they have begun, besides one for each place."""
_PATIENCE = 30.0
"""Seconds without any worker before one is told what the workers wait for."""


@dataclass(frozen=True)
class Ray(Executor):
    """Workers of a Ray cluster, one unit at a time each: of one that runs already, or of one that is started on this
    machine for as long as the study takes.

    A worker that dies is replaced, and so are those of a machine that is lost; their units are done again. Over several
    machines, the folders of results and data, the plugin files and this environment must be in the same place on all.
    Needs the extra ``ray``.
    """

    workers: int | None = param(None, ge=1, le=10_000, doc="how many; null: as many as the cluster has room for")
    address: Literal["auto"] | None = param(
        None, doc="null: start a cluster here; auto: use the one that runs here, or that RAY_ADDRESS names"
    )
    cpus: float | None = param(None, ge=0, le=1024, doc="processor cores of one worker; null: as its threads need")
    gpus: float | None = param(None, ge=0, le=16, doc="of one worker; null: one where device=cuda, else none")
    timeout: float = param(900.0, gt=0, doc="seconds without a pass or a result after which a worker counts as hung")

    def run(self, work: Work) -> None:
        """See :class:`Executor`."""
        if importlib.util.find_spec("ray") is None:
            fix = 'pip install "xai-framework[ray]"'
            raise ConfigError("the package ray is not installed", where="executor=ray", fix=fix)
        settings = work.plan.groups[0].job.settings
        cpus = float(settings.threads) if self.cpus is None else self.cpus
        gpus = float(settings.device.startswith("cuda")) if self.gpus is None else self.gpus
        units = max(1, sum(map(len, work.units)))
        with self._connected(None if self.workers is None else min(self.workers, units), cpus, gpus):
            room = self._room(cpus, gpus)
            workers = min(self.workers or room, units)
            pool = RayPool(work, workers, {"num_cpus": cpus, "num_gpus": gpus}, settings.threads, self.timeout)
            try:
                drive(work, pool)
            finally:
                pool.close()

    @contextlib.contextmanager
    def _connected(self, workers: int | None, cpus: float, gpus: float) -> Iterator[None]:
        """In a cluster; one that was started for it ends with it. Raises ConfigError where there is none."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent anywhere
        import ray

        if ray.is_initialized():
            yield
            return
        how: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
        if self.address is None:
            how |= {"address": "local", "include_dashboard": False, "object_store_memory": 128 * 2**20}
            how["num_cpus"] = max(1, _cores() if workers is None else -int(-workers * cpus // 1))
        else:
            # not from a config, which may be a stranger's: whoever runs a cluster runs code in all who join it
            how["address"] = self.address
            _check_reachable(os.environ.get("RAY_ADDRESS", ""))
        # Ray takes over SIGTERM, which is ours while a study runs
        ours = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            ray.init(**how)
        except (ConnectionError, ValueError, RuntimeError) as error:
            words = " ".join(str(error).split())[:300]
            raise _unreachable(words) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in ours.items():
                    signal.signal(number, handler)
        try:
            yield
        finally:
            ray.shutdown()

    def _room(self, cpus: float, gpus: float) -> int:
        """How many workers the cluster can hold now."""
        import ray

        room = 0
        for node in ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                fits = [has.get(name, 0.0) // wanted for name, wanted in (("CPU", cpus), ("GPU", gpus)) if wanted]
                room += int(min(fits, default=1))
        return max(1, room)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_reachable(address: str) -> None:
    """Raises ConfigError where nobody answers: Ray itself tries for minutes."""
    if "://" in address:  # Ray's client: another interface
        raise _unreachable(f"RAY_ADDRESS={address} is not host:port")
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), 10).close()
        except (OSError, OverflowError) as error:
            raise _unreachable(f"RAY_ADDRESS={address}: {error}") from None


def _unreachable(why: str) -> ConfigError:
    fix = "ray start --head starts one; executor.address=null starts one for this study"
    return ConfigError(f"no Ray cluster can be reached ({why})", where="executor.address", fix=fix)


class Worker:
    """What runs in an actor, in two threads: one computes, the other answers."""

    def __init__(self, folder: str, threads: int) -> None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(threads)  # before torch is imported
        self._folder, self._stop = folder, Stop()
        self._events: list[Event] = []
        self._runner: Any = None

    def begin(self, mark: str, groups: Any, plugin_files: Sequence[str]) -> XaiError | tuple[str, int]:  # noqa: ANN401
        """Load the plugins; (host, process id), or what is wrong with this machine as a whole."""
        host = os.uname().nodename if hasattr(os, "uname") else "here"
        try:
            os.chdir(self._folder)  # paths are relative to where the study was started
        except OSError:
            mark = ""
        if not mark or not Path(mark).is_file():
            return ConfigError(
                f"{host} does not see the folder of the results", where="outputs", fix="use one that all machines share"
            )
        try:
            from xai_framework.executors.runner import Runner
            from xai_framework.registry import Registry

            self._runner = Runner(groups, Registry(plugin_files), self._stop, self._events.append)
        except XaiError as error:
            return error
        return host, os.getpid()

    def compute(self, piece: Piece) -> Any:  # noqa: ANN401 - see attempted()
        """See :class:`Runner`."""
        return attempted(self._runner, piece)

    def news(self) -> list[Event]:
        """Events since the last question."""
        found = []
        while self._events:
            found.append(self._events.pop(0))
        return found

    def stop(self) -> None:
        """Store what is finished and end."""
        self._stop.ask("the driver asks to stop")


@dataclass
class _Actor:
    handle: Any
    began: Any
    name: str = ""
    piece: Piece | None = None
    answer: Any = None
    news: Any = None
    asked: float = 0.0
    heard: float = 0.0
    lost: float = 0.0
    killed: str = ""


class RayPool:
    """Actors that compute one piece at a time. One that is not there yet, for want of room, gets none."""

    def __init__(self, work: Work, workers: int, needs: dict[str, float], threads: int, timeout: float) -> None:
        import ray

        self._ray, self._work, self._timeout = ray, work, timeout
        self._needs = needs
        self._mark = work.outputs / f".shared-{uuid.uuid4().hex}"
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        self._mark.touch()
        self._class = ray.remote(Worker).options(max_concurrency=2, max_restarts=0, max_task_retries=0, **needs)
        self._arguments = (str(Path.cwd()), threads)
        files = tuple(str(f) for f in work.plugin_files)
        self._share = ray.put(work.plan.groups), files
        self._numbers = itertools.count()
        self._actors: dict[str, _Actor] = {}
        self._stopped: float | None = None
        self._misbegun = 0
        for _ in range(workers):
            self._spawn()

    def idle(self) -> Sequence[str]:
        """Workers that are there and have nothing to do."""
        self._look_at_new()
        if not any(actor.name for actor in self._actors.values()):
            self._wait_for_one()
        return [name for name, actor in self._actors.items() if actor.name and actor.piece is None]

    def start(self, worker: str, piece: Piece) -> None:
        """Send it."""
        actor = self._actors[worker]
        actor.piece, actor.heard = piece, time.monotonic()
        actor.answer = actor.handle.compute.remote(piece)

    def wait(self, seconds: float) -> Sequence[Said]:
        """See what is finished, ask for news, notice the dead and the hung."""
        busy = {actor.answer: name for name, actor in self._actors.items() if actor.piece is not None}
        ready, _ = self._ray.wait(list(busy), timeout=seconds) if busy else ([], [])
        said = [one for name in [n for n, a in self._actors.items() if a.piece is not None] for one in self._news(name)]
        for reference in ready:
            said += self._heard(busy[reference])
        self._kill_the_hung()
        return said

    def ask_to_stop(self) -> None:
        """By each worker's second thread, since the first computes."""
        self._stopped = time.monotonic()
        for actor in self._actors.values():
            actor.handle.stop.remote()

    def close(self) -> None:
        """End all workers."""
        for actor in self._actors.values():
            self._kill(actor)
        self._actors.clear()
        with contextlib.suppress(OSError):
            self._mark.unlink()

    def _spawn(self) -> None:
        handle = self._class.remote(*self._arguments)
        groups, files = self._share
        began = handle.begin.remote(str(self._mark), groups, files)
        self._actors[f"new-{next(self._numbers)}"] = _Actor(handle, began)

    def _wait_for_one(self) -> None:
        """Until a worker is there, or we are asked to stop."""
        since, complained = time.monotonic(), False
        while not self._work.stop.asked and not any(actor.name for actor in self._actors.values()):
            if time.monotonic() - since > _PATIENCE and not complained:
                complained = True
                needs = ", ".join(f"{n:g} {name.removeprefix('num_').upper()}" for name, n in self._needs.items() if n)
                there = {k: v for k, v in self._ray.cluster_resources().items() if k in ("CPU", "GPU")}
                print(f"ray: no room for a worker yet: each needs {needs}, the cluster has {there}", flush=True)
            time.sleep(0.1)
            self._look_at_new()

    def _look_at_new(self) -> None:
        """Name those that have begun. Raises XaiError where a machine cannot be used at all."""
        new = {actor.began: place for place, actor in self._actors.items() if not actor.name}
        if new:
            ready, _ = self._ray.wait(list(new), num_returns=len(new), timeout=0)
            for reference in ready:
                self._begun(new[reference])

    def _begun(self, place: str) -> None:
        actor = self._actors.pop(place)
        try:
            answer = self._ray.get(actor.began)
        except self._ray.exceptions.RayError as error:
            self._failed_to_begin(error)
            return
        if isinstance(answer, XaiError):
            raise answer
        host, process = answer
        actor.name = f"ray-{host}-{process}"
        self._actors[actor.name] = actor

    def _failed_to_begin(self, error: Exception) -> None:
        self._misbegun += 1
        if self._misbegun > _MISBEGUN + len(self._actors):
            words = " ".join(str(error).split())
            raise XaiError(f"workers do not start ({words[-400:]})", where="executor=ray")
        if self._stopped is None:
            self._spawn()

    def _news(self, name: str) -> list[Said]:
        """The answer to the last question, and the next question."""
        actor = self._actors[name]
        now = time.monotonic()
        if actor.news is None:
            if now - actor.asked > _NEWS:
                actor.asked, actor.news = now, actor.handle.news.remote()
            return []
        ready, _ = self._ray.wait([actor.news], timeout=0)
        if not ready:
            return []
        try:
            events = self._ray.get(actor.news)
        except self._ray.exceptions.RayError:
            events = []  # its answer says so too
        actor.news = None
        if events:
            actor.heard = now
        return [Said(name, event=event) for event in events]

    def _heard(self, name: str) -> list[Said]:
        actor = self._actors[name]
        try:
            answer = self._ray.get(actor.answer)
        except self._ray.exceptions.ActorUnavailableError as error:
            if actor.killed or (actor.lost and time.monotonic() - actor.lost > _PATIENCE):
                return self._died(name, error)
            # Ray does not know yet how it ended: ask until it does
            actor.lost = actor.lost or time.monotonic()
            time.sleep(0.1)
            actor.answer = actor.handle.news.remote()
            return []
        except self._ray.exceptions.RayError as error:
            return self._died(name, error)
        if actor.lost:  # the connection was: what came of the piece is not known
            return self._died(name, ConnectionError("the connection to it was lost"))
        actor.piece, actor.answer = None, None
        return [said_of(name, answer)]

    def _died(self, name: str, error: Exception) -> list[Said]:
        actor = self._actors.pop(name)
        self._kill(actor)
        if self._stopped is None:
            self._spawn()
        how = actor.killed or _why(error)
        return [Said(name, died=how, blameless=not actor.killed and "worker process has died" not in str(error))]

    def _kill_the_hung(self) -> None:
        now = time.monotonic()
        for actor in self._actors.values():
            if actor.piece is None or actor.killed:
                continue
            if self._stopped is not None and now - self._stopped > _LAST_SECONDS:
                actor.killed = "it did not stop in time"
                self._kill(actor)
            elif now - actor.heard > self._timeout:
                actor.killed = f"no sign of life for {self._timeout:g} s"
                self._kill(actor)

    def _kill(self, actor: _Actor) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor.handle, no_restart=True)


def _why(error: Exception) -> str:
    """How it ended, out of Ray's long explanation."""
    text = " ".join(str(error).split())
    for mark in (r"worker process has died\..*?Worker exit detail: ([^.]*)", r"(its node has died)", r"^(.*)$"):
        if found := re.search(mark, text):
            return found[1][:200]
    return text[:200]
