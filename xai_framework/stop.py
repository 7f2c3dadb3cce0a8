"""Stopping on request: at the next safe point, with everything stored that is finished."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

RESUMABLE = 75
"""Exit code of a run that was asked to stop and can be resumed (EX_TEMPFAIL: schedulers may requeue it)."""

_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")


class Interrupted(BaseException):
    """Raised at a safe point of a run that was asked to stop."""


class Stop:
    """Whether the run was asked to stop, and how long ago.

    Work at hand may go on for ``grace`` seconds, to the end of its micro-batch; then it is given up where it is.
    ``broken_off``: Interrupted was raised where a signal arrived. Libraries may have made another exception of it.
    """

    def __init__(self, grace: float = 2.5) -> None:
        self.grace, self.reason = grace, ""
        self.broken_off = False
        self._since: float | None = None

    @property
    def asked(self) -> bool:
        """Whether to begin nothing new."""
        return self._since is not None

    @property
    def overdue(self) -> bool:
        """Whether to give up what is at hand."""
        return self._since is not None and time.monotonic() - self._since > self.grace

    def ask(self, reason: str) -> None:
        """From now on; a second request changes nothing."""
        if self._since is None:
            self.reason, self._since = reason, time.monotonic()

    def check(self) -> None:
        """Raises Interrupted where the work at hand is to be given up."""
        if self.overdue:
            raise Interrupted(self.reason)

    @contextlib.contextmanager
    def on_signals(self, *, quiet: bool = False, anywhere: bool = False) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGUSR1 ask to stop; a second one ends the process at once with 128 + its number.

        ``anywhere``: there are no safe points, and none are needed: Interrupted is raised where the signal arrives.
        Outside the main thread, where Python takes no signals, nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, _frame: FrameType | None) -> None:
            if self.asked:
                os._exit(128 + number)
            name = signal.Signals(number).name
            self.ask(name)
            if anywhere:
                self.broken_off = True
                raise Interrupted(name)
            if not quiet:
                text = f"\n{name}: storing what is finished; once more to stop at once\n"
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())  # print is not safe in here

        numbers = [getattr(signal, n) for n in _SIGNALS if hasattr(signal, n)]
        before = {n: signal.signal(n, handle) for n in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
