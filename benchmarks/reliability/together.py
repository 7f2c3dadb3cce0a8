"""Rows 17, 18, 20 and 30: several runs at once, other clocks, other executors."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability.lab import Lab, Row
from benchmarks.reliability.launch import launch, run
from benchmarks.reliability.study import Known, acknowledged, differences, digest, events, hold, study

_DAY = 86400.0


def _race(lab: Lab, known: Known, commands: list[tuple[str, ...]], label: str) -> None:
    with lab.case(label) as folder:
        launched = []
        for argv in commands:
            launched.append(launch(folder, argv))
            time.sleep(lab.random.choice((0.0, 0.0, lab.random.uniform(0, known.seconds))))
        for one in launched:
            ended = one.wait()
            hold(ended.code == 0, f"exit code {ended.code}: {ended.said[-1000:]}")
        stored = sum(int(e["maps"]) for e in events(folder, "stored"))
        lab.most("twice", stored - known.maps)
        hold(stored - known.maps <= (len(commands) - 1) * 2 * 3, f"{stored} maps were computed for {known.maps}")
        known.check(folder, acknowledged(folder))


def _two(lab: Lab) -> None:
    """Two drivers in one outputs folder, with the same or overlapping methods."""
    known = study(images=8).undisturbed(lab.new())
    halves = [study(images=8, methods=m).argv for m in (("gradient", "gradcam"), ("gradcam", "smoothgrad"))]
    for k in range(lab.count(20, 4)):
        commands = [known.argv, known.argv] if k % 2 else halves
        _race(lab, known, commands, f"two runs, case {k}")
    lab.note(f"at most {lab.of('twice'):.0f} of {known.maps} maps computed twice")


def _three(lab: Lab) -> None:
    """Three launched at the same moment."""
    known = study(images=8).undisturbed(lab.new())
    for k in range(lab.count(20, 2)):
        time.sleep(1.02 - time.time() % 1)
        _race(lab, known, [known.argv] * 3, f"three runs, case {k}")
    lab.note(f"at most {lab.of('twice'):.0f} of {known.maps} maps computed twice")


def _shifted(seconds: float) -> Callable[[], None]:
    def act() -> None:
        real = time.time
        time.time = lambda: real() + seconds

    return act


def _jumping() -> None:
    """Each look at the clock gives another day."""
    real, looks = time.time, [0]

    def now() -> float:
        looks[0] += 1
        return real() + _DAY * (-1) ** looks[0]

    time.time = now


def _zone(name: str) -> Callable[[], None]:
    def act() -> None:
        os.environ["TZ"] = name
        time.tzset()

    return act


def _touch(folder: Path, seconds: float) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() + seconds,) * 2)


def _clocks(lab: Lab) -> None:
    """Clocks that jump, files from the future."""
    known = study(images=8).undisturbed(lab.new())
    clocks = (_shifted(_DAY), _shifted(-_DAY), _jumping, _zone("Pacific/Kiritimati"), _zone("Etc/GMT+12"))
    cases = [(c, t) for c in clocks for t in (0.0, _DAY, -20 * 365 * _DAY)]
    for k, (clock, touched) in enumerate(cases[:: lab.count(1, 4)]):
        with lab.case(f"case {k}") as folder:
            launched = launch(folder, known.argv)
            time.sleep(lab.random.uniform(0.3, 0.9) * known.seconds)
            launched.signal(signal.SIGTERM)
            launched.wait()
            if touched:
                _touch(folder, touched)
            before = acknowledged(folder)
            ended = run(folder, known.argv, clock)
            hold(ended.code == 0, f"exit code {ended.code}: {ended.said[-500:]}")
            if touched:
                _touch(folder, touched)
            known.check(folder, before, same_cut=False)


def _executors(lab: Lab) -> None:
    """Whoever computes, the bytes are the same; batches of another size differ by rounding."""
    ways = [("executor=serial",), *(("executor=processes", f"executor.workers={n}") for n in (1, 2, 4))]
    first: dict[int, Path] = {}
    for batch in (1, 7, 32) if lab.full else (7,):
        for way in ways if lab.full else ways[:3:2]:
            with lab.case(f"batch {batch}, {' '.join(way)}", keep=True) as folder:
                argv = (*study("unit=16", f"batch={batch}", images=48).argv, *way)
                ended = run(folder, argv)
                hold(ended.code == 0, f"exit code {ended.code}: {ended.said[-500:]}")
                one = first.setdefault(batch, folder)
                hold(digest(folder) == digest(one), "another digest")
                far, share = differences(next(iter(first.values())), folder)
                lab.most("far", far)
                lab.most("share", share)
                # rounding may take an activation to the other side of a kink: that changes one image, and for good
                hold(share <= 0.03 and far <= 1e-2, f"{share:.1%} of maps differ by more than 1e-5, at most by {far:g}")
                hold("nothing left" in run(folder, argv).said, "the next run computed something")
    lab.note("one digest for each batch size")
    lab.note(
        f"between batch sizes {lab.of('share'):.1%} of maps differ by more than 1e-5, by at most {lab.of('far'):.1e}"
    )


ROWS = (
    Row(
        "17",
        "two runs in one outputs folder at once, of the same or overlapping studies",
        "both finish; nothing is lost; at most the units at hand are computed twice; results identical",
        _two,
    ),
    Row("18", "three runs launched in the same second", "as 17", _three),
    Row("20", "clocks that jump a day, other time zones, files from the future", "results identical", _clocks),
    Row(
        "30",
        "executors serial and processes with 1, 2, 4 workers, each with batches of 1, 7, 32",
        "the same bytes for the same batch; between batches 97 % of maps within 1e-5 of their file's largest value, "
        "the others (a ReLU or a pooling at a tie) within 1e-2",
        _executors,
    ),
)
