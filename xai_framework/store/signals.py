"""Signals that wait, while libraries call back into Python that an exception from nowhere breaks."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Handlers of signals are called where the function that is given is called, and at the end, not where a signal
    arrives: HDF5 that writes through a Python object crashes, or loses the write, if a handler raises there.

    Outside the main thread, where Python takes no signals, nothing changes.
    """
    waiting: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Handler] = {}

    def let_through() -> None:
        if waiting:
            number, frame = waiting.pop(0)
            try:
                handlers[number](number, frame)
            finally:  # nobody's is lost because another's raises
                let_through()

    if threading.current_thread() is threading.main_thread():
        # what is not callable says what the system itself does
        handlers = {int(n): h for n in signal.valid_signals() if callable(h := signal.getsignal(n))}
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: waiting.append((number, frame)))
        yield let_through
    finally:
        try:
            _put_back(handlers)
        finally:
            let_through()


def _put_back(handlers: Mapping[int, Handler]) -> None:
    """All of them, also where one that is back already raises meanwhile."""
    left, raised = list(handlers.items()), None
    while left:
        try:
            while left:
                signal.signal(*left[-1])
                left.pop()
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised
