"""Runs of ``xai`` as children of a process that has loaded everything already, so that thousands can be broken.

A fork has what its parent had; a run then costs what it computes. The parent must never compute anything or start a
thread, since a fork copies neither threads nor the locks they hold.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG."""

_composed: dict[tuple[str, ...], Any] = {}
_real: list[Callable[..., Any]] = []


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (negative: by that signal), the seconds it took and all that it printed."""

    code: int
    seconds: float
    said: str

    @property
    def crashed(self) -> bool:
        """Whether it ended otherwise than by an error that is explained."""
        return "Traceback (most recent call last)" in self.said


class Launched:
    """A run that goes on."""

    def __init__(self, pid: int, output: IO[bytes]) -> None:
        self.pid, self._output, self._started = pid, output, time.monotonic()
        self._handle = os.pidfd_open(pid)
        self._ended: Ended | None = None

    def signal(self, number: int) -> None:
        """Send it a signal; nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return os.pread(self._output.fileno(), 2**20, 0).decode(errors="replace")

    def ended(self, seconds: float) -> bool:
        """Whether it ended, waiting at most so long."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def wait(self, seconds: float = 120) -> Ended:
        """Its end. It is killed where that takes longer, and said to hang."""
        if self._ended is None:
            hung = not self.ended(seconds)
            if hung:
                self.signal(signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            took = time.monotonic() - self._started
            self._output.seek(0)
            said = self._output.read().decode(errors="replace")
            self._output.close()
            os.close(self._handle)
            self._ended = Ended(code, took, said + (f"\nTraceback (most recent call last): hung {took} s" * hung))
        return self._ended


def load() -> None:
    """Import all that a run imports, and remember composed configs: they are not what is tested here."""
    if _real:
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    import importlib

    for name in ("cli.main", "cli.verify", "study", "engine", "executors.runner", "store", "api"):
        importlib.import_module(f"xai_framework.{name}")
    from importlib.metadata import entry_points

    for kind in ("methods", "backbones", "datasets", "targets"):
        for entry in entry_points(group=f"xai_framework.{kind}"):
            entry.load()
    from xai_framework.cli import run

    _real.append(run.composed_jobs)
    run.composed_jobs = _remembered


def compose(argv: Sequence[str]) -> None:
    """Compose the jobs of a command here, so that its runs find them."""
    if argv[0] == "run" and not any(a.startswith("plugins=") for a in argv):
        from xai_framework.registry import Registry

        key = tuple(argv[1:])
        if key not in _composed:
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                _composed[key] = _real[0](list(key), Registry([]), [])


def _remembered(arguments: Sequence[str], registry: object, files: Sequence[str]) -> Any:
    found = _composed.get(tuple(arguments))
    return _real[0](arguments, registry, files) if found is None else found


def launch(folder: Path, argv: Sequence[str], before: Callable[[], object] | None = None) -> Launched:
    """Start ``xai`` with these arguments in ``folder``; ``before`` is called in the child first, to break things."""
    with contextlib.suppress(Exception):  # what is wrong with a command is for the child to say
        compose(argv)
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the run has ended
    pid = os.fork()
    if pid:
        return Launched(pid, output)
    code = 70
    try:
        _alone(output)
        os.chdir(folder)
        if before is not None:
            before()
        from xai_framework.cli.main import main

        code = main(list(argv))
    except KeyboardInterrupt:  # as Python itself ends then
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _alone(output: IO[bytes]) -> None:
    """Make the child a process of its own that does not outlive its parent."""
    os.setsid()
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    # new ones, since what stands in their buffers belongs to the parent
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # type: ignore[misc] # noqa: SIM115


def run(folder: Path, argv: Sequence[str], before: Callable[[], object] | None = None, seconds: float = 120) -> Ended:
    """Run ``xai`` to its end."""
    return launch(folder, argv, before).wait(seconds)
