"""Signals wait while HDF5 writes, and none is lost."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_samples import keys, make_cell, write

from xai_framework.store import atomic, signals

GRID = (1, 4, 4)


def test_a_signal_at_any_call_of_hdf5_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    """What a handler raises in a call from HDF5 is lost there, with what was to be written, or ends the process."""
    cell = make_cell(tmp_path)
    write(cell, [0, 1], grid=GRID)
    write(cell, [2, 3], grid=GRID)
    whole = cell.merge(keys(range(4)), "whole").read_bytes()
    path = cell.merged_path("all")
    calls = at = 0

    def interrupting(frame: Any, event: str, _: object) -> None:
        nonlocal calls
        if event == "call" and frame.f_globals is vars(atomic) and "self" in frame.f_locals:
            calls += 1
            if calls == at:
                signal.raise_signal(signal.SIGINT)

    while calls >= at:
        at, calls, before = at + 1, 0, sys.gettrace()
        sys.settrace(interrupting)
        try:
            cell.merge(keys(range(4)), "all")
        except KeyboardInterrupt:
            assert not list(cell.path.glob(".tmp-*"))
            assert not path.with_suffix(".json").exists()
        else:
            assert calls < at, "the signal was lost"
        finally:
            sys.settrace(before)
        assert not path.exists() or path.read_bytes() == whole
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert at > 50


def _held(numbers: tuple[int, ...], handled: list[int], then: Callable[[], None]) -> None:
    with signals.held():
        for number in numbers:
            signal.raise_signal(number)
        assert handled == []
        then()


def test_all_signals_that_wait_are_handled_and_handlers_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    handled = []

    def raising(number: int, _frame: object) -> None:
        handled.append(number)
        raise KeyboardInterrupt(number)

    both = (signal.SIGTERM, signal.SIGUSR1)
    before = {n: signal.signal(n, raising) for n in both}
    real, late = signal.signal, []

    def slow(number: int, handler: Any) -> Any:
        replaced = real(number, handler)
        if handler is raising and number not in late:  # one arrives as soon as its handler is back
            late.append(number)
            signal.raise_signal(number)
        return replaced

    try:
        with pytest.raises(KeyboardInterrupt):
            _held(both, handled, lambda: monkeypatch.setattr(signal, "signal", slow))
        assert sorted(handled) == sorted(both * 2)
        assert all(signal.getsignal(n) is raising for n in both)
    finally:
        for number, handler in before.items():
            real(number, handler)
