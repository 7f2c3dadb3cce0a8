"""Rows 1, 3, 4 and 22: runs and workers that are killed, or asked to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability.lab import Lab, Row
from benchmarks.reliability.launch import Launched, launch
from benchmarks.reliability.study import Known, Study, acknowledged, events, hold, lost, study, verified

STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
RESUMABLE = 75


def _kills(lab: Lab) -> None:
    """SIGKILL at any time of a run, then resume; chains of five kills."""
    known = study(images=8).undisturbed(lab.new())
    chains = [1] * lab.count(200, 8) + [5] * lab.count(20, 1)
    for k, kills in enumerate(chains):
        with lab.case(f"{kills} kills, case {k}") as folder:
            before: dict[Path, str] = {}
            for _ in range(kills):
                begun = len(events(folder, "started"))
                launched = launch(folder, known.argv)
                if lab.random.random() < 0.7:  # the others may die before they begin
                    while len(events(folder, "started")) == begun and not launched.ended(0.02):
                        pass
                time.sleep(lab.random.uniform(0, known.seconds))
                launched.signal(signal.SIGKILL)
                lab.add("kills", launched.wait().code == -signal.SIGKILL)
                hold(not lost(before), "an acknowledged result is lost")
                before |= acknowledged(folder)
            lab.add("acknowledged", len(before))
            _redone(lab, known, folder, kills, lambda f=folder, b=before: known.resumed(f, b))  # type: ignore[misc]
            _, problems = verified(folder)
            left = [p for p in problems if "interrupted write" not in p]
            hold(not left, f"verify finds {left[:3]}")
            hold(verified(folder, "--repair")[0].code == 0, "repair did not help")
    lab.note(f"{lab.of('kills'):.0f} kills hit; {lab.of('acknowledged'):.0f} acknowledged results, 0 lost")
    lab.note(f"at most {lab.of('redone'):.0f} unit redone a kill")


def _redone(lab: Lab, known: Known, folder: Path, kills: int, resume: Callable[[], object]) -> None:
    """Resume, and check that no more than the unit at hand was computed twice for each kill."""
    resume()
    started = len(events(folder, "started"))
    lab.most("redone", max(0, started - known.pieces) / kills)
    hold(started - known.pieces <= kills, f"{started} units were begun for {known.pieces} and {kills} kills")


def _kills_of_driver_and_workers(lab: Lab) -> None:
    """The driver of worker processes dies: its workers end by themselves, and a resume goes on."""
    known = study("executor=processes", "executor.workers=2", images=8).undisturbed(lab.new())
    for k in range(lab.count(10, 1)):
        with lab.case(f"driver killed, case {k}") as folder:
            launched = launch(folder, known.argv)
            workers = _wait_for_workers(launched, 2)
            time.sleep(lab.random.uniform(0, known.seconds * 0.7))
            workers |= set(_children(launched.pid))
            launched.signal(signal.SIGKILL)
            launched.wait()
            started = time.monotonic()
            while any(_alive(w) for w in workers) and time.monotonic() - started < 20:
                time.sleep(0.05)
            lab.most("orphans", time.monotonic() - started)
            hold(not any(_alive(w) for w in workers), "workers outlive their driver")
            known.resumed(folder, acknowledged(folder))
    lab.note(f"driver of worker processes killed: workers gone after at most {lab.of('orphans'):.1f} s")


def _rows_of_kills(lab: Lab) -> None:
    _kills(lab)
    _kills_of_driver_and_workers(lab)


def _children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _workers(pid: int) -> set[int]:
    """Worker processes of a run, not the helper that multiprocessing starts beside them."""
    found = set()
    for child in _children(pid):
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(child)
    return found


def _wait_for_workers(launched: Launched, count: int) -> set[int]:
    for _ in range(600):
        workers = _workers(launched.pid)
        if len(workers) >= count or launched.ended(0.02):
            return workers
    return set()


def _stops(lab: Lab) -> None:
    """Signals that ask to stop: once, then twice."""
    known = study(images=8).undisturbed(lab.new())
    for number in STOPS:
        for k in range(lab.count(50, 2)):
            with lab.case(f"{number.name} once, case {k}") as folder:
                launched = launch(folder, known.argv)
                time.sleep(lab.random.uniform(0.0, 1.1 * known.seconds))
                _stop_once(lab, folder, launched, number)
                known.resumed(folder, acknowledged(folder), same_cut=False)
    # a micro-batch of more than the time of grace, so that there is something to stop
    slow = study("unit=8", images=8, methods=("vargrad",))
    slow = Study((*slow.argv, "method.vargrad.samples=4000"))
    for number in STOPS:
        for k in range(lab.count(5, 1)):
            with lab.case(f"{number.name} once in a long pass, case {k}") as folder:
                launched = launch(folder, slow.argv)
                _until_started(folder, launched)
                time.sleep(lab.random.uniform(0, 0.5))
                hold(_stop_once(lab, folder, launched, number) == RESUMABLE, "it was not stopped")
        for k in range(lab.count(50, 2)):
            with lab.case(f"{number.name} twice, case {k}") as folder:
                launched = launch(folder, slow.argv)
                _until_started(folder, launched, "progress")  # before its first pass it stops at once
                time.sleep(lab.random.uniform(0, 0.3))
                launched.signal(number)
                _until_answered(launched)
                time.sleep(lab.random.uniform(0, 0.3))
                sent = time.monotonic()
                launched.signal(number)
                ended = launched.wait()
                lab.most("second", time.monotonic() - sent)
                hold(ended.code == 128 + number, f"exit code {ended.code}: {ended.said[-300:]}")
                hold(time.monotonic() - sent < 1, "the second signal did not end it at once")
    lab.note(", ".join(f"{lab.of(k):.0f} {k}" for k in ("exit code 75", "finished before", "not begun yet")))
    lab.note(f"stopped within {lab.of('first'):.1f} s; ended within {lab.of('second'):.2f} s of the second signal")


def _stop_once(lab: Lab, folder: Path, launched: Launched, number: signal.Signals) -> int:
    sent = time.monotonic()
    launched.signal(number)
    ended = launched.wait()
    took = lab.most("first", time.monotonic() - sent)
    lab.add({0: "finished before", RESUMABLE: "exit code 75"}.get(ended.code, "not begun yet"))
    # 0: it had finished before; a signal before it has begun to plan, or when all is done, ends it as any program
    begun = ended.said or (folder / "outputs").exists()
    finished = any(folder.glob("outputs/runs/*/run.json"))
    hold(
        ended.code in (0, RESUMABLE) or (ended.code == -number and (finished or not begun)),
        f"exit code {ended.code}: {ended.said[-300:]}",
    )
    hold(took < 5, f"it took {took:.1f} s to stop")
    return ended.code


def _until_started(folder: Path, launched: Launched, event: str = "started") -> None:
    while not events(folder, event):
        if launched.ended(0.02):
            return


def _until_answered(launched: Launched) -> None:
    while "once more to stop at once" not in launched.said:
        if launched.ended(0.005):
            return


def _slurm(lab: Lab) -> None:
    """A scheduler with a short limit: TERM, then KILL two seconds later, and again from the queue."""
    known = study(images=12, methods=("gradient", "gradcam", "smoothgrad", "occlusion")).undisturbed(lab.new())
    for k in range(lab.count(30, 3)):
        with lab.case(f"case {k}") as folder:
            budget = lab.random.uniform(0.05, 0.5) * known.seconds
            for _ in range(60):
                lab.add(f"launches {k}")
                begun = len(events(folder, "started"))
                launched = launch(folder, known.argv)
                # from when it computes: no limit that is too short for a start lets anything ever finish
                while len(events(folder, "started")) == begun and not launched.ended(0.02):
                    pass
                if not launched.ended(budget):
                    launched.signal(signal.SIGTERM)
                    if not launched.ended(2):
                        launched.signal(signal.SIGKILL)
                ended = launched.wait()
                hold(ended.code in (0, RESUMABLE, -signal.SIGTERM), f"exit code {ended.code}: {ended.said[-500:]}")
                lab.add("asked", ended.code == RESUMABLE)
                if ended.code == 0:
                    break
            hold(ended.code == 0, "it never finished")
            lab.most("launches", lab.of(f"launches {k}"))
            known.check(folder, same_cut=False)
    lab.note(f"at most {lab.of('launches'):.0f} launches a run, {lab.of('asked'):.0f} stops with exit code 75")


def _worker_kills(lab: Lab) -> None:
    """SIGKILL to one of the worker processes at any time."""
    known = study("executor=processes", "executor.workers=2", images=12).undisturbed(lab.new())
    for k in range(lab.count(20, 1)):
        with lab.case(f"case {k}") as folder:
            launched = launch(folder, known.argv)
            workers = sorted(_wait_for_workers(launched, 2))
            _until_started(folder, launched)
            time.sleep(lab.random.uniform(0, 0.8 * known.seconds))
            alive = [w for w in workers if _alive(w)]
            if alive:
                victim = lab.random.choice(alive)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            ended = launched.wait()
            hold(ended.code == 0, f"exit code {ended.code}: {ended.said[-800:]}")
            died = events(folder, "worker_died")
            lab.add("died", len(died))
            hold(all("SIGKILL" in e["how"] for e in died), f"not named: {died}")
            known.check(folder, same_cut=False)
    lab.note(f"{lab.of('died'):.0f} workers died with work in hand; each was named and replaced, none failed a map")


ROWS = (
    Row(
        "1",
        "SIGKILL at a random time, then resume; chains of five; the driver of worker processes",
        "nothing acknowledged is lost, at most one unit redone a kill, results identical",
        _rows_of_kills,
    ),
    Row(
        "3",
        "SIGTERM, SIGUSR1, SIGINT: once at a random time; twice",
        "exit 75 within 5 s; the second signal ends it at once with 128 + its number; resume identical",
        _stops,
    ),
    Row("4", "a scheduler's loop: TERM, KILL after 2 s, requeued", "the run completes, results identical", _slurm),
    Row("22", "SIGKILL to a worker process", "it is named and replaced, its unit is done again", _worker_kills),
)
