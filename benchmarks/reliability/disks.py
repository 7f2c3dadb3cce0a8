"""Rows 2, 5, 6 and 7: disks that fail, fill up, or cannot be written."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

from benchmarks.reliability.faults import Disk, mount_read_only, mount_small, own_mounts, unmount
from benchmarks.reliability.lab import Lab, Row
from benchmarks.reliability.launch import Ended, run
from benchmarks.reliability.study import Known, acknowledged, hold, study


def _explained(ended: Ended, folder: Path, number: int) -> None:
    """A disk's refusal is an error of ours that names the file and the reason."""
    hold(ended.code == 1, f"exit code {ended.code}: {ended.said[-800:]}")
    hold(not ended.crashed, f"not explained: {ended.said[-800:]}")
    errors = [ln for ln in ended.said.splitlines() if ln.startswith("error[store]")]
    hold(errors and os.strerror(number) in errors[-1], f"the reason is not given: {ended.said[-500:]}")
    hold("outputs" in errors[-1], f"no file is named: {errors[-1]}")


def _every_call(lab: Lab) -> None:
    """Each call to the disk in a whole run fails once, fails from there on, or is where the process dies."""
    known = study(images=4, methods=("gradient",)).undisturbed(lab.new())
    counter = Disk(lab.empty())
    hold(run(counter.folder, known.argv, counter.install).code == 0, "the counting run failed")
    total = counter.count
    kinds = (("fails once", errno.EIO, False, False), ("full", errno.ENOSPC, True, False), ("killed", 0, False, True))
    for what, error, forever, kill in kinds:
        for at in range(1, total + 1, lab.count(1, max(1, total // 4))):
            with lab.case(f"{what} at call {at} of {total}") as folder:
                disk = Disk(folder, at, error, forever, kill)
                ended = run(folder, known.argv, disk.install)
                if kill:
                    hold(ended.code == -signal.SIGKILL, f"exit code {ended.code}")
                elif ended.code:  # what may be lost, as the log of events, is not worth an error
                    _explained(ended, folder, error)
                lab.add("errors", ended.code == 1)
                known.resumed(folder, acknowledged(folder))
    lab.note(f"{total} calls to the disk in a run (open, write, fsync, rename, close, ...)")
    lab.note(f"{lab.of('errors'):.0f} explained errors, all others harmless; 0 tracebacks")


def _full(lab: Lab) -> None:
    """Disks that fill up at some point; then there is room again."""
    known = study(images=12).undisturbed(lab.new())
    used = sum(p.stat().st_size for p in (known.folder / "outputs").rglob("*") if p.is_file())
    mounts = own_mounts()
    for k in range(lab.count(20, 3)):
        size = int(used * lab.random.uniform(0.02, 0.95))
        with lab.case(f"{size} bytes, case {k}") as folder:
            if mounts:
                mount_small(folder, size)
            try:
                ended = run(folder, known.argv, None if mounts else Disk(folder, room=size).install)
                _explained(ended, folder, errno.ENOSPC)
                hold("free" in ended.said, "it does not say how much is free")
                if mounts:
                    mount_small(folder, 64 << 20, again=True)
                known.resumed(folder, acknowledged(folder))
            finally:
                if mounts:
                    unmount(folder)
    lab.note(f"sizes of 2 to 95 % of what a run needs{', a mounted file system' if mounts else ', counted bytes'}")


def _refused(lab: Lab) -> None:
    """The disk fails for good in the middle of a run."""
    known = study(images=6).undisturbed(lab.new())
    counter = Disk(lab.empty())
    run(counter.folder, known.argv, counter.install)
    for number in (errno.EIO, errno.EROFS, errno.EDQUOT):
        for k in range(lab.count(20, 2)):
            at = lab.random.randrange(2, counter.count)
            with lab.case(f"{errno.errorcode[number]} from call {at} on, case {k}") as folder:
                ended = run(folder, known.argv, Disk(folder, at, number, forever=True).install)
                if ended.code:
                    _explained(ended, folder, number)
                else:  # it was only the last calls, which close what is stored
                    lab.add("too late")
                known.resumed(folder, acknowledged(folder))
    lab.note("EIO, EROFS, EDQUOT; each error names the file, its reason and what to do")


def _read_only(lab: Lab) -> None:
    """Nothing can be written from the start."""
    known = study(images=4).undisturbed(lab.new())
    mounts = own_mounts()
    for k in range(lab.count(5, 2)):
        with lab.case(f"a file in the way, case {k}") as folder:
            (folder / "outputs").write_text("")
            _at_once(lab, known, folder)
        if not mounts:
            continue
        with lab.case(f"an empty read-only folder, case {k}") as folder:
            _at_once_read_only(lab, known, folder)
        with lab.case(f"a read-only folder with results, case {k}") as folder:
            known.copy(folder / "all")
            (folder / "all/outputs").rename(folder / "outputs")
            cell = next((folder / "outputs").rglob("shards"))
            next(cell.glob("*.h5")).unlink()
            _at_once_read_only(lab, known, folder)
        with lab.case(f"a read-only folder with all results, case {k}") as folder:
            (folder / "outputs").mkdir()
            run(folder, known.argv)
            mount_read_only(folder / "outputs")
            try:
                hold(run(folder, known.argv).code == 0, "what is there already needs no writing")
            finally:
                unmount(folder / "outputs")
    lab.note(f"refused after at most {lab.of('seconds'):.2f} s (imports apart), before a model is loaded")
    if not mounts:
        lab.note("read-only mounts could not be tested here")


def _at_once_read_only(lab: Lab, known: Known, folder: Path) -> None:
    (folder / "outputs").mkdir(exist_ok=True)
    mount_read_only(folder / "outputs")
    try:
        _at_once(lab, known, folder)
    finally:
        unmount(folder / "outputs")


def _at_once(lab: Lab, known: Known, folder: Path) -> None:
    ended = run(folder, known.argv, _tell_of_models)
    lab.most("seconds", ended.seconds)
    hold(ended.code == 1, f"exit code {ended.code}: {ended.said[-500:]}")
    hold(not ended.crashed and "error[store]" in ended.said, f"not explained: {ended.said[-800:]}")
    hold("MODEL" not in ended.said, f"a model was loaded first: {ended.said[-500:]}")
    hold(ended.seconds < 2, f"it took {ended.seconds:.1f} s")


def _tell_of_models() -> None:
    from xai_framework import engine

    before = engine.Engine.__init__

    def told(*args: object, **kwargs: object) -> None:
        print("MODEL", file=sys.stderr, flush=True)
        before(*args, **kwargs)  # type: ignore[arg-type]

    engine.Engine.__init__ = told  # type: ignore[method-assign]


ROWS = (
    Row(
        "2",
        "each single call to the disk in a run: it fails once, all fail from there on, the process dies in it",
        "an explained error or none; nothing acknowledged is lost; resume identical",
        _every_call,
    ),
    Row("5", "the disk fills up", "exit 1, the file, bytes needed and free; with room again resume identical", _full),
    Row("6", "EIO, EROFS or EDQUOT from some call on", "exit 1 and the reason; resume identical", _refused),
    Row(
        "7",
        "the outputs folder cannot be written from the start",
        "an error in less than 2 s, before a model is loaded; what is there can be read",
        _read_only,
    ),
)
