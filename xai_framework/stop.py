"""Stopping on request: at the next safe point, with everything stored that is finished."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

RESUMABLE = 75
"""Exit code of a run that was asked to stop and can be resumed (EX_TEMPFAIL: schedulers may requeue it)."""

_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")


_END = b"\0"
"""No signal has this number."""

_counting: list[int] = []
"""Where signals of this process are written to, the innermost last."""


def _not_in_children() -> None:
    """A forked child's signals are not its parent's."""
    if _counting:
        signal.set_wakeup_fd(-1)
        _counting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_not_in_children)


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
        self._signals = 0

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
            self.ask(signal.Signals(number).name)
            if anywhere and not self.broken_off:
                self.broken_off = True
                raise Interrupted(self.reason)

        numbers = [getattr(signal, n) for n in _SIGNALS if hasattr(signal, n)]
        before = {n: signal.signal(n, handle) for n in numbers}
        try:
            with self._counted(numbers, quiet=quiet or anywhere):
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _counted(self, numbers: Sequence[int], quiet: bool) -> Iterator[None]:
        """Count signals as they arrive, in a thread of its own.

        Python calls handlers in the main thread only, between two of its steps: a pass of the model may hold that up
        for seconds, and two signals within it would be one.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)

        def count() -> None:
            while (arrived := os.read(reading, 1)) != _END:
                number = arrived[0]
                if number not in numbers:
                    continue
                self._signals += 1
                if self._signals > 1:
                    os._exit(128 + number)
                name = signal.Signals(number).name
                self.ask(name)
                if not quiet:
                    text = f"\n{name}: storing what is finished; once more to stop at once\n"
                    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())

        counter = threading.Thread(target=count, name="signals", daemon=True)
        counter.start()
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        _counting.append(writing)
        try:
            yield
        finally:
            _counting.remove(writing)
            signal.set_wakeup_fd(before)
            os.write(writing, _END)
            counter.join()
            os.close(reading)
            os.close(writing)
