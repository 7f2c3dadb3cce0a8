"""``python -m benchmarks.reliability [ROW ...] [--full] [--json]``: break runs, and print what came of it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.reliability import damage, disks, inputs, kills, launch, memory, plugins, together
from benchmarks.reliability.lab import Result, Row, Size
from benchmarks.reliability.table import printed, write

_PARTS = (kills, disks, damage, inputs, plugins, memory, together)
ROWS: tuple[Row, ...] = tuple(sorted((row for part in _PARTS for row in part.ROWS), key=lambda r: int(r.number)))
_LONG = ("28", "8", "2", "24")
"""Begun first where they are asked for, so that no processor core idles at the end."""


def main(argv: Sequence[str] | None = None) -> int:
    """0 where every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="numbers of rows; default: all")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--full", action="store_true", help="the full counts, which take about an hour")
    how.add_argument("--quick", action="store_true", help="small counts, which take two minutes (default)")
    parser.add_argument("--jobs", type=int, default=2, help="rows at the same time")
    parser.add_argument("--json", action="store_true", help="results as JSON")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    args = parser.parse_args(argv)
    known = {r.number: r for r in ROWS}
    if unknown := [n for n in args.rows if n not in known]:
        parser.error(f"no row {unknown[0]!r}; rows are {', '.join(known)}")
    rows = [known[n] for n in args.rows] or list(ROWS)
    finished = (lambda r: write([r])) if args.write else (lambda _: None)
    results = run_rows(rows, "full" if args.full else "quick", max(1, args.jobs), finished)
    print(json.dumps([asdict(r) for r in results], indent=1) if args.json else printed(results))
    return 0 if all(r.passed == r.cases for r in results) else 1


def run_rows(rows: Sequence[Row], size: Size, jobs: int, finished: Callable[[Result], None]) -> list[Result]:
    """Each row in a process of its own, some at the same time; ``finished`` is called as soon as one is."""
    launch.load()
    waiting = sorted(rows, key=lambda r: _LONG.index(r.number) if r.number in _LONG else len(_LONG))
    running: dict[int, tuple[Row, Path]] = {}
    results: dict[str, Result] = {}
    # memory where there is some: what a killed process wrote is there all the same, and a disk is only slower
    shared = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="reliability-", dir=shared if os.access(shared, os.W_OK) else None))
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                row = waiting.pop(0)
                folder = root / row.number
                folder.mkdir()
                running[_forked(row, folder, size)] = row, folder
            pid, status = os.wait()
            row, folder = running.pop(pid)
            results[row.number] = _result_of(row, folder, status)
            said = results[row.number]
            print(f"row {row.number}: {said.passed}/{said.cases} in {said.seconds:.0f} s", file=sys.stderr, flush=True)
            finished(said)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        shutil.rmtree(root, ignore_errors=True)
    return [results[r.number] for r in rows]


def _forked(row: Row, folder: Path, size: Size) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        (folder / "result.json").write_text(json.dumps(asdict(row.run(folder, size))))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _result_of(row: Row, folder: Path, status: int) -> Result:
    try:
        return Result(**json.loads((folder / "result.json").read_text()))
    except OSError:
        return Result(row.number, row.injected, row.promised, 1, 0, [], [f"the row itself ended with {status}"])


if __name__ == "__main__":
    sys.exit(main())
