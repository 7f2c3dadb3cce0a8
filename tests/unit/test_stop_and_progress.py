"""Stopping at safe points, the event log, and what is made of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xai_framework.events import EventLog, Follower
from xai_framework.progress import Display, State, duration, summary
from xai_framework.stop import Interrupted, Stop

_RUN = {"event": "run", "study": "s", "executor": "serial", "units": 3, "images": 6, "maps": 12, "time": 100.0}


def test_a_stop_waits_for_the_micro_batch_and_then_no_longer() -> None:
    stop = Stop(grace=0.05)
    stop.check()
    assert not stop.asked
    stop.ask("SIGINT")
    stop.ask("again")
    assert (stop.asked, stop.reason, stop.overdue) == (True, "SIGINT", False)
    stop.check()
    time.sleep(0.06)
    with pytest.raises(Interrupted, match="SIGINT"):
        stop.check()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_the_first_signal_asks_and_the_second_ends(name: str) -> None:
    code = (
        "import time, sys\nfrom xai_framework.stop import Stop\nstop = Stop()\nwith stop.on_signals():\n"
        "    print('ready', flush=True)\n    while not stop.asked: time.sleep(0.01)\n"
        "    print(stop.reason, flush=True)\n    time.sleep(30)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    assert process.stdout.readline() == f"{name}\n"
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=5)
    assert process.returncode == 128 + getattr(signal, name)
    assert "once more to stop at once" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_second_signal_ends_it_within_a_long_step(number: int) -> None:
    """Handlers wait for the end of a step, such as a pass of the model; this one never ends by itself."""
    code = (
        "import hashlib\nfrom xai_framework.stop import Stop\nstop = Stop()\n"
        "with stop.on_signals():\n    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 2**30)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(number)
    assert [process.stderr.readline() for _ in range(2)][1].endswith("once more to stop at once\n")
    process.send_signal(number)
    process.communicate(timeout=5)
    assert process.returncode == 128 + number


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_signals_of_a_forked_child_are_its_own() -> None:
    stop = Stop()
    with stop.on_signals(quiet=True):
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        time.sleep(0.2)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert not stop.asked


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    with stop.on_signals(quiet=True):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_follower_reads_what_is_new_and_leaves_what_is_torn(tmp_path: Path) -> None:
    follower, log = Follower(tmp_path), EventLog(tmp_path)
    assert follower.new() == []
    log({"event": "run", "time": 1.0})
    log({"event": "stored", "time": 3.0})
    (tmp_path / "events" / "other.jsonl").write_text('{"event": "loaded", "time": 2.0}\n{"event": "sto')
    assert [e["event"] for e in follower.new()] == ["run", "loaded", "stored"]
    assert follower.new() == []
    with (tmp_path / "events" / "other.jsonl").open("a") as file:
        file.write('red", "time": 4.0}\nnonsense\n[1]\n{"event": 5}\n')
    assert [e["time"] for e in follower.new()] == [4.0]
    log.close()


def test_a_log_that_cannot_be_written_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "events").write_text("in the way")
    log = EventLog(tmp_path)
    log({"event": "run"})
    log({"event": "end"})
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_the_state_of_a_run_follows_from_its_events() -> None:
    state = State()
    events = [
        _RUN,
        {"event": "started", "worker": "a", "backbone": "vgg", "images": 2, "methods": ["x", "y"], "time": 100.0},
        {"event": "progress", "worker": "a", "passes": 25, "of": 50, "time": 105.0},
    ]
    for event in events:
        state.take(event)
    # half of one unit of three in 5 seconds
    assert state.remaining == pytest.approx(25.0)
    state.take({"event": "stored", "worker": "a", "images": 2, "maps": 4, "failed": 1, "time": 110.0})
    assert (state.units, state.maps, state.images, state.failed) == ((1, 3), (4, 12), 2.0, 1)
    assert state.remaining == pytest.approx(20.0)
    assert summary(state) == "4/12 maps, 0.2 images/s, 0.4 maps/s, 1 failed, 20 s left"
    state.take({"event": "worker_died", "worker": "a", "how": "signal SIGSEGV", "time": 111.0})
    state.take({"event": "given_up", "worker": "driver", "method": "x", "why": "it died", "maps": 2, "time": 112.0})
    assert (state.maps, state.failed) == ((6, 12), 3)
    assert state.notes[-1] == "x: stored as failed, it died"
    state.take({**_RUN, "time": 200.0})  # the same study again
    assert (state.maps, state.notes, state.failed) == ((0, 12), [], 0)
    state.take({"event": "end", "how": "finished", "time": 201.0})
    assert state.ended == "finished"
    state.take({"event": "of a later version"})


def test_without_a_terminal_lines_are_plain_and_few(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(live=False) as display:
        display(_RUN)
        for i in range(3):
            at = {"worker": "a", "time": 101.0 + i}
            display({"event": "stored", "images": 2, "maps": 4, "failed": 0, **at})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2  # the first, since ten seconds are not over, and the last
    assert lines[-1].startswith("12/12 maps")
    assert "\x1b" not in "".join(lines)


def test_a_terminal_has_a_live_view(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(live=True) as display:
        display(_RUN)
        display(
            {"event": "started", "worker": "[w]", "backbone": "[vgg]", "images": 2, "methods": ["x"], "time": 100.0}
        )
        display({"event": "error", "worker": "w", "what": "[red]odd[/red]", "time": 100.5})
    assert "0/12 maps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_events_are_json_lines_with_time_and_worker(tmp_path: Path) -> None:
    log = EventLog(tmp_path, worker="w")
    log({"event": "run", "name": "ä\n"})
    log.close()
    (line,) = log.path.read_text("utf-8").splitlines()
    event = json.loads(line)
    assert (event["event"], event["worker"], event["name"]) == ("run", "w", "ä\n")
    assert event["time"] > 1.7e9
