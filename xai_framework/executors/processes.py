"""Several worker processes on this machine; one that dies is replaced, and what it was at is done again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import PluginError
from xai_framework.core.executor import Executor
from xai_framework.core.params import param
from xai_framework.executors.drive import Said, attempted, drive, said_of
from xai_framework.executors.work import Piece, Work, how_it_ended
from xai_framework.stop import Stop

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

_START_SECONDS = 300.0
"""How long a worker may take to import what it needs, which says nothing about the methods."""

_MOST_FAILED_STARTS = 3
"""Workers that may die in a row before they are ready."""

_LOOK = 0.5
"""Seconds between two looks at whether to stop, while workers start."""

_LAST_SECONDS = 4.0
"""How long workers that were asked to stop may take; then they are killed."""


_READY = "ready"
"""A worker's first word."""


@dataclass(frozen=True)
class Processes(Executor):
    """Worker processes on this machine, one unit at a time each. Where there are several GPUs, each worker has one.

    A worker that dies, or says nothing for ``timeout`` seconds, is replaced; its unit is done again method by method,
    and a method that kills a second worker is stored as failed for these images while everything else goes on.
    """

    workers: int | None = param(None, ge=1, le=1024, doc="how many; null: one a GPU, else one a processor core")
    timeout: float = param(900.0, gt=0, doc="seconds without a pass or a result after which a worker counts as hung")

    def run(self, work: Work) -> None:
        """See :class:`Executor`."""
        device = work.plan.groups[0].job.settings.device
        devices = [device]
        if device == "cuda":
            import torch

            devices = [f"cuda:{i}" for i in range(max(1, torch.cuda.device_count()))]
        threads = work.plan.groups[0].job.settings.threads
        workers = self.workers or (len(devices) if device == "cuda" else max(1, _cores() // threads))
        workers = min(workers, max(1, sum(map(len, work.units))))
        pool = WorkerPool(work, [devices[i % len(devices)] for i in range(workers)], threads, self.timeout)
        try:
            drive(work, pool)
        finally:
            pool.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    place: int
    piece: Piece | None = None
    heard: float = 0.0
    ready: bool = False
    killed: str = ""


class WorkerPool:
    """Spawned processes, each with a pipe. Spawned, since a fork copies locks and GPU state that do not work there."""

    def __init__(self, work: Work, devices: Sequence[str], threads: int, timeout: float) -> None:
        self._work, self._devices, self._threads, self._timeout = work, devices, threads, timeout
        self._workers: dict[str, _Worker] = {}
        self._stopped: float | None = None
        self._failed_starts = 0
        for place in range(len(devices)):
            self._spawn(place)

    def idle(self) -> Sequence[str]:
        """Workers without a piece. Where nobody has one, waits for the first to be ready for it."""
        while not any(w.ready or w.piece for w in self._workers.values()) and not self._work.stop.asked:
            self._listen(_LOOK)
        return [name for name, worker in self._workers.items() if worker.ready and worker.piece is None]

    def start(self, worker: str, piece: Piece) -> None:
        """Send it."""
        at = self._workers[worker]
        at.piece, at.heard = piece, time.monotonic()
        with contextlib.suppress(OSError):  # it died while idle; wait() sees its end
            at.pipe.send(piece)

    def wait(self, seconds: float) -> Sequence[Said]:
        """Read all pipes; notice the dead and the hung."""
        return self._listen(seconds)

    def ask_to_stop(self) -> None:
        """Each worker handles SIGTERM as the driver does SIGINT."""
        self._stopped = time.monotonic()
        for worker in self._workers.values():
            worker.process.terminate()

    def close(self) -> None:
        """End all workers; those that compute something are killed."""
        for worker in self._workers.values():
            with contextlib.suppress(OSError):
                worker.pipe.send(None)
        limit = time.monotonic() + 2
        for worker in self._workers.values():
            if worker.piece is None:
                worker.process.join(max(0.0, limit - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _listen(self, seconds: float) -> list[Said]:
        by_pipe = {w.pipe: name for name, w in self._workers.items()}
        said: list[Said] = []
        for ready in connection.wait(list(by_pipe), seconds):
            name = by_pipe[ready]  # type: ignore[index]
            said += self._read(name)
        self._kill_the_hung()
        return said

    def _read(self, name: str) -> list[Said]:
        worker = self._workers[name]
        worker.heard = time.monotonic()
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self._died(name)
        if message == _READY:
            worker.ready, self._failed_starts = True, 0
            return []
        if isinstance(message, dict):
            return [Said(name, event=message)]
        worker.piece = None
        return [said_of(name, message)]

    def _died(self, name: str) -> list[Said]:
        worker = self._workers.pop(name)
        worker.process.join(5)
        how = worker.killed or how_it_ended(worker.process.exitcode)
        worker.pipe.close()
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > _MOST_FAILED_STARTS:  # it is no method's fault: nothing is stored as failed
                raise PluginError(f"worker processes do not start ({how})", where="executor", fix="executor=serial")
        if self._stopped is None:
            self._spawn(worker.place)
        return [Said(name, died=how)] if worker.piece is not None else []

    def _kill_the_hung(self) -> None:
        now = time.monotonic()
        for worker in self._workers.values():
            if worker.killed or (worker.ready and worker.piece is None):
                continue
            if self._stopped is not None and now - self._stopped > _LAST_SECONDS:
                worker.killed = "it did not stop in time"
                worker.process.kill()
            elif now - worker.heard > (limit := self._timeout if worker.ready else max(_START_SECONDS, self._timeout)):
                worker.killed = f"no sign of life for {limit:g} s"
                worker.process.kill()

    def _spawn(self, place: int) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        work = self._work
        job = (work.plan.groups, work.plugin_files, self._devices[place], self._threads)
        process = context.Process(target=worker_main, args=(theirs, *job), name=f"xai worker {place}", daemon=True)
        # set here, since a child reads them before it runs anything of ours
        with _environment(OMP_NUM_THREADS=str(self._threads), MKL_NUM_THREADS=str(self._threads)):
            process.start()
        theirs.close()
        self._workers[f"worker-{process.pid}"] = _Worker(process, ours, place, heard=time.monotonic())


@contextlib.contextmanager
def _environment(**values: str) -> Any:  # noqa: ANN401 - a context
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def worker_main(pipe: Connection, groups: Any, plugin_files: Sequence[str], device: str, threads: int) -> None:  # noqa: ANN401
    """What a worker process runs: pieces come in through the pipe, events and results go out, until None comes."""
    stop = Stop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver says what to do
    for name in ("SIGTERM", "SIGUSR1"):  # so may these, before the driver's own: a second one changes nothing
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _frame: stop.ask(signal.Signals(number).name))
    from xai_framework.executors.runner import Runner
    from xai_framework.registry import Registry

    def tell(event: dict[str, Any]) -> None:
        try:
            pipe.send(event)
        except OSError:  # never raised here, where a method would be blamed for it
            stop.ask("the driver is gone")

    runner = Runner(groups, Registry(plugin_files), stop, tell, device)
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the driver is gone
        pipe.send(_READY)
        while (piece := pipe.recv()) is not None:
            pipe.send(attempted(runner, piece))
            if stop.asked:
                return


def _end_with_the_driver() -> None:
    """A method that hangs would keep a worker alive for ever whose driver was killed."""
    if driver := parent_process():
        driver.join()
        time.sleep(_LAST_SECONDS)
        os._exit(1)
