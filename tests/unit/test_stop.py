"""Stopping on request, wherever a run is at."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from xai_framework import study
from xai_framework.cli.main import main
from xai_framework.core.errors import StoreError
from xai_framework.stop import RESUMABLE, Interrupted, Stop

ARGV = ["run", "dataset.images=2", "method=[gradient]"]


@pytest.mark.parametrize(
    ("phase", "number"), [("plan", signal.SIGINT), ("finish", signal.SIGTERM), ("_failures", signal.SIGUSR1)]
)
def test_a_signal_outside_of_computing_stops_it_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], phase: str, number: int
) -> None:
    """A scheduler that stops a run while it plans or merges is told that it can be resumed, as while it computes."""
    monkeypatch.chdir(tmp_path)
    real, before = getattr(study, phase), signal.getsignal(number)

    def interrupted(*args: object, **kwargs: object) -> object:
        os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(study, phase, interrupted)
        assert main([*ARGV, "report=false"]) == RESUMABLE
    assert f"stopped by {signal.Signals(number).name}; the same command goes on" in capfd.readouterr().err
    assert signal.getsignal(number) == before
    assert main([*ARGV, "report=false"]) == 0
    assert ("nothing left" in capfd.readouterr().out) == (phase != "plan")


def test_what_a_library_makes_of_the_signal_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """h5py, interrupted in compiled code, raises SystemError, which reads as a damaged file."""
    monkeypatch.chdir(tmp_path)

    def interrupted(*_: object, **__: object) -> object:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Interrupted:
            raise StoreError("is damaged") from None

    with monkeypatch.context() as patch:
        patch.setattr(study, "finish", interrupted)
        assert main([*ARGV, "report=false"]) == RESUMABLE
    assert "damaged" not in capfd.readouterr().err


def test_the_inner_handling_gives_way_to_the_outer() -> None:
    stop = Stop()
    with stop.on_signals(anywhere=True):
        with stop.on_signals():
            pass
        with pytest.raises(Interrupted, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked
