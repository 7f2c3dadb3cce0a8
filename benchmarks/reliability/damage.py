"""Rows 8, 9 and 24: what is stored is damaged, lost, or mixed up afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability.faults import Disk
from benchmarks.reliability.lab import Lab, Row
from benchmarks.reliability.launch import run
from benchmarks.reliability.study import Known, digest, events, hold, sha256, shards, study, verified

_PAGE = 4096


def _truncate(path: Path, rng: random.Random, _others: list[Path]) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def _flip(path: Path, rng: random.Random, _others: list[Path]) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _blank(path: Path, rng: random.Random, _others: list[Path]) -> None:
    data = bytearray(path.read_bytes())
    pages = [p for p in range(0, len(data), _PAGE) if any(data[p : p + _PAGE])]
    at = rng.choice(pages)
    data[at : at + _PAGE] = bytes(len(data[at : at + _PAGE]))
    path.write_bytes(data)


def _delete(path: Path, _rng: random.Random, _others: list[Path]) -> None:
    path.unlink()


def _swap(path: Path, rng: random.Random, others: list[Path]) -> None:
    other = rng.choice([p for p in others if p != path])
    mine = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(mine)


def _damage(lab: Lab) -> None:
    """A stored file is damaged; it is found, and only what is lost is computed again."""
    known = study(images=8, methods=("gradient", "gradcam")).undisturbed(lab.new())
    for break_it in (_truncate, _flip, _blank, _delete, _swap):
        for k in range(lab.count(100, 1)):
            with lab.case(f"{break_it.__name__.strip('_')}, case {k}") as empty:
                folder = known.copy(empty / "copy")
                sound = {p: sha256(p) for p in shards(folder).values()}
                for path in lab.random.sample(sorted(sound), 1 if break_it is _swap else 2):
                    break_it(path, lab.random, sorted(sound))
                if k % 2:  # else the results that were merged before are there still
                    for path in (folder / "outputs").rglob("maps-*"):
                        path.unlink()
                _found_and_mended(lab, known, folder, {p for p in sound if not p.is_file() or sha256(p) != sound[p]})
    lab.note(f"{lab.of('found'):.0f} of {lab.of('broken'):.0f} damaged files found")
    lab.note(f"{lab.of('maps'):.0f} maps lost, {lab.of('computed'):.0f} computed again")


def _found_and_mended(lab: Lab, known: Known, folder: Path, broken: set[Path]) -> None:
    ended, problems = verified(folder, before=_unnamed)
    hold(ended.code == 1, "verify is content")
    named = {p for p in broken if any(p.name in problem for problem in problems)}
    lab.add("broken", len(broken))
    lab.add("found", len(named))
    hold(named == broken, f"not found: {[p.name for p in broken - named]}; problems: {problems}")
    hold(not run(folder, ["verify", "outputs", "--repair"], _unnamed).crashed, "repair crashed")
    runs = len(events(folder, "run"))
    known.resumed(folder)
    lost = 2 * len(broken)
    again = sum(int(e["maps"]) for e in events(folder, "run")[runs:])
    lab.add("maps", lost)
    lab.add("computed", again)
    hold(again == lost, f"{again} maps were computed for {lost} lost")
    ended, problems = verified(folder)
    hold(ended.code == 0, f"still wrong: {problems[:3]}")


def _unnamed() -> None:
    """Which maps a file has lost is asked in a process of its own each time, and is not the question here."""
    from xai_framework.store import damage

    damage._lost = lambda path: []


def _cut(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def _scribble(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 4, 32))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)


def _digit(path: Path, rng: random.Random) -> None:
    """Another digit in place of one, which leaves a line that can be read."""
    data = bytearray(path.read_bytes())
    at = rng.choice([i for i, c in enumerate(data) if chr(c).isdecimal()])
    data[at] = ord(rng.choice([d for d in "0123456789" if ord(d) != data[at]]))
    path.write_bytes(data)


def _lose(path: Path, _rng: random.Random) -> None:
    path.unlink()


def _journals(lab: Lab) -> None:
    """A journal is damaged or lost; the shards say themselves what they hold."""
    known = study(images=8, methods=("gradient", "gradcam")).undisturbed(lab.new())
    for break_it in (_cut, _scribble, _digit, _lose):
        for name in ("journal.jsonl", "rows.jsonl"):
            for k in range(lab.count(15, 1)):
                with lab.case(f"{name} {break_it.__name__.strip('_')}, case {k}") as empty:
                    folder = known.copy(empty / "copy")
                    journals = sorted((folder / "outputs").rglob(name))
                    for path in lab.random.sample(journals, lab.random.choice((1, len(journals)))):
                        break_it(path, lab.random)
                    for path in (folder / "outputs").rglob("maps-*"):
                        path.unlink()
                    runs = len(events(folder, "run"))
                    ended = run(folder, known.argv)
                    if "damaged" in ended.said or "verify --repair" in ended.said:
                        lab.add("repairs")  # a line that names another checksum cannot be told from a damaged shard
                        run(folder, ["verify", "outputs", "--repair"])
                        ended = run(folder, known.argv)
                    hold(ended.code == 0, f"exit code {ended.code}: {ended.said[-800:]}")
                    again = sum(int(e["maps"]) for e in events(folder, "run")[runs:])
                    lab.add("computed", again)
                    hold(digest(folder) == known.digest, "results differ")
                    hold("nothing left" in run(folder, known.argv).said, "the next run computed something")
                    run(folder, ["verify", "outputs", "--repair"])
                    known.resumed(folder)
                    hold(verified(folder)[0].code == 0, f"not mended: {verified(folder)[1]}")
    lab.note(
        f"{lab.of('computed'):.0f} maps computed again, {lab.of('repairs'):.0f} times a repair had to be asked for"
    )


def _machine(lab: Lab) -> None:
    """Anything that can happen to a cell, in any order, against a model of what must be there."""
    from hypothesis import HealthCheck, Phase, seed, settings
    from hypothesis.stateful import run_state_machine_as_test

    _unnamed()
    steps, seeds = lab.count(2000, 100), lab.count(20, 2)
    for number in range(seeds):
        with lab.case(f"seed {number}"):
            made = _machine_class(lab)
            plain = settings(
                max_examples=max(1, steps // 50),
                stateful_step_count=50,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            run_state_machine_as_test(seed(number)(made), settings=plain)
    lab.note(f"{seeds} seeds, {lab.of('steps'):.0f} steps")


def _machine_class(lab: Lab) -> Any:  # noqa: C901 - one rule each
    import numpy as np
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

    from benchmarks.reliability.cells import keys, make_cell, maps_of, write
    from xai_framework.store import CellStore, MapFile

    chance = st.integers(0, 2**32)

    class Machine(RuleBasedStateMachine):
        """``rows`` must be there, ``perhaps`` may be: they were being written when their writer was killed."""

        def __init__(self) -> None:
            super().__init__()
            self.folder = Path(tempfile.mkdtemp(dir=lab.root))
            self.cell: CellStore = make_cell(self.folder)
            self.rows: set[int] = set()

        def teardown(self) -> None:
            shutil.rmtree(self.folder)

        def held(self) -> dict[Path, set[int]]:
            return {p: _rows_in(p) for p in self.cell.shard_files().values()}

        def forget(self, path: Path, held: dict[Path, set[int]]) -> None:
            """The rows that only this shard had are gone."""
            self.rows -= held[path].difference(*(rows for p, rows in held.items() if p != path))

        @rule(first=st.integers(0, 40), count=st.integers(1, 4))
        def add_unit(self, first: int, count: int) -> None:
            write(self.cell, range(first, first + count))
            self.rows |= set(range(first, first + count))

        @rule(first=st.integers(0, 40), count=st.integers(1, 4), at=st.integers(1, 30))
        def kill(self, first: int, count: int, at: int) -> None:
            """A writer that dies at some call to the disk; what it acknowledged must be there."""
            disk = Disk(self.folder, at, kill=True)
            pid = os.fork()
            if not pid:
                disk.install()
                write(self.cell, range(first, first + count))
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            hold(status in (0, -signal.SIGKILL), f"the writer ended with {status}")
            unit = set(range(first, first + count))
            there = set(map(_number, self.cell.rows()))
            hold(status or unit <= there, "an acknowledged unit is lost")
            hold(unit <= there or not (unit - self.rows) & there, "half a unit is there")
            self.rows |= unit & there

        @rule()
        def resume(self) -> None:
            self.cell = make_cell(self.folder)

        @rule(number=chance)
        def delete_shard(self, number: int) -> None:
            held = self.held()
            if held:
                path = sorted(held)[number % len(held)]
                path.unlink()
                self.forget(path, held)

        @rule(number=chance, how=st.sampled_from((_truncate, _flip, _blank)))
        def corrupt_shard(self, number: int, how: Callable[..., None]) -> None:
            held = self.held()
            if held:
                path = sorted(held)[number % len(held)]
                how(path, random.Random(number), [])
                hold(path in {p.remove for p in self.cell.verify()}, "damage was not found")
                self.cell.repair()
                self.forget(path, held)

        @rule(number=chance, how=st.sampled_from((_cut, _scribble, _digit, _lose)), lists=st.booleans())
        def corrupt_journal(self, number: int, how: Callable[..., None], lists: bool) -> None:
            path = self.cell.journal_path.with_name("rows.jsonl") if lists else self.cell.journal_path
            if path.is_file() and path.stat().st_size:
                how(path, random.Random(number))
                self.cell = make_cell(self.folder)

        @rule()
        def merge(self) -> None:
            if self.rows:
                wanted = sorted(self.rows)
                with MapFile(self.cell.merge(keys(wanted), "all")) as file:
                    np.testing.assert_array_equal(file.attribution[...], maps_of(wanted))

        @rule()
        def repair(self) -> None:
            left = [p for p in self.cell.repair() if "next run" not in p.what]
            hold(not left, f"not repaired: {left}")

        @invariant()
        def holds_what_it_should(self) -> None:
            lab.add("steps")
            there = set(map(_number, self.cell.rows()))
            hold(there == self.rows, f"lost {self.rows - there}, unexpected {there - self.rows}")

    return Machine


def _number(key: tuple[str, str]) -> int:
    return int(key[1], 16)


def _rows_in(path: Path) -> set[int]:
    from xai_framework.store import MapFile

    with MapFile(path) as file:
        return set(map(_number, file.keys))


ROWS = (
    Row(
        "8",
        "a stored file is cut, a bit flipped, a page blanked, deleted, or swapped with another",
        "`xai verify` finds each; after `--repair` only what is lost is computed again; results identical",
        _damage,
    ),
    Row(
        "9",
        "a journal or its list of rows is cut, scribbled on, has another digit somewhere, or is gone",
        "the next runs finish with identical results, at worst after `xai verify --repair`",
        _journals,
    ),
    Row("24", "units added, killed, deleted, damaged, merged, repaired in any order", "the store holds", _machine),
)
