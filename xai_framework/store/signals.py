"""Signals that wait, while libraries call back into Python that an exception from nowhere breaks."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_ASKING = ("SIGINT", "SIGTERM", "SIGUSR1")
"""Those whose handlers may raise, as Python's own does for the first."""


@contextlib.contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Handlers of signals are called where the function that is given is called, and at the end, not where a signal
    arrives: HDF5 that writes through a Python object crashes, or loses the write, if a handler raises there.

    Outside the main thread, where Python takes no signals, nothing changes.
    """
    waiting: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def let_through() -> None:
        while waiting:
            number, frame = waiting.pop(0)
            handlers[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in _ASKING if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if callable(handler):  # a number says what the system itself does
                handlers[number] = handler
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: waiting.append((number, frame)))
        yield let_through
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        let_through()
