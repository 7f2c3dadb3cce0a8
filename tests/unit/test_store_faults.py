"""Whatever breaks while storing: what was acknowledged is there, nothing half-written counts, and it is said."""

from __future__ import annotations

import errno
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_samples import keys, make_block, make_cell, map_of, write

from xai_framework.core.errors import StoreError
from xai_framework.store import CellStore, MapFile, atomic, damage, write_atomic

GRID = (1, 4, 4)


@pytest.fixture
def quick_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged maps are not named, which takes a process each time."""
    monkeypatch.setattr(damage, "_lost", lambda path: [])


# --- a disk that fails ------------------------------------------------------------------------------------------------


class FailingOs:
    """``os``, of which the n-th call that touches the disk fails, and with ``forever`` all after it."""

    COUNTED = ("open", "write", "fsync", "replace", "mkdir", "ftruncate", "close")

    def __init__(self, at: int, number: int, forever: bool) -> None:
        self.at, self.number, self.forever, self.calls = at, number, forever, 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._failing(real) if name in self.COUNTED else real

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.at or (self.forever and self.calls > self.at):
                if real is os.close:
                    os.close(*args)
                raise OSError(self.number, os.strerror(self.number))
            return real(*args, **kwargs)

        return call


def _until_it_completes(
    monkeypatch: pytest.MonkeyPatch, number: int, forever: bool, act: Callable[[], object], check: Callable[[], object]
) -> int:
    """Let ``act`` fail at its first, second, ... call to the disk, ``check`` after each; returns how many there are."""
    for at in range(1, 500):
        failing = FailingOs(at, number, forever)
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "os", failing)
            error = None
            try:
                act()
            except StoreError as caught:
                error = caught
        if failing.calls < at:
            return at - 1
        if error:  # a failed close of a synced file costs nothing
            assert re.search(rf"{os.strerror(number)} \(\d+ bytes needed, \d+ free\)", error.what)
            assert error.where.startswith("/")
            assert ("free some space" if number == errno.ENOSPC else "writable") in error.fix
        check()
    raise AssertionError("never completed")


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_writing_fails_at_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_verify: None, number: int, forever: bool
) -> None:
    """A shard is there as a whole or not at all; the same call works once the disk does."""
    folders = iter(range(1000))
    cell = make_cell(tmp_path)
    expected = make_cell(tmp_path / "expected")
    whole = write(expected, [2, 3], grid=GRID).read_bytes()

    def act() -> None:
        nonlocal cell
        cell = make_cell(tmp_path / str(next(folders)))
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "os", os)
            first = write(cell, [0, 1], grid=GRID)
        assert first.is_file()
        write(cell, [2, 3], grid=GRID)

    def check() -> None:
        found = cell.rows()
        assert set(found) in (set(keys([0, 1])), set(keys([0, 1, 2, 3])))
        assert {p.read_bytes() for n, p in cell.shard_files().items() if n == found.get(keys([2])[0])} <= {whole}
        assert all("interrupted write" in p.what or "not in the journal" in p.what for p in cell.verify())
        assert write(cell, [2, 3], grid=GRID).read_bytes() == whole
        assert cell.repair() == []
        assert set(cell.rows()) == set(keys([0, 1, 2, 3]))

    # sidecar, shard, list of rows and journal line: 4 calls, 8, 3, 3
    assert _until_it_completes(monkeypatch, number, forever, act, check) == 18


@pytest.mark.parametrize("forever", [False, True])
def test_creating_a_cell_fails_at_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_verify: None, forever: bool
) -> None:
    folders = iter(range(1000))
    cell = make_cell(tmp_path)

    def act() -> None:
        nonlocal cell
        cell = make_cell(tmp_path / str(next(folders)))
        write(cell, [0], grid=GRID)

    def check() -> None:
        assert set(cell.rows()) <= set(keys([0]))
        write(cell, [0], grid=GRID)
        assert cell.repair() == []

    assert _until_it_completes(monkeypatch, errno.ENOSPC, forever, act, check) > 30


@pytest.mark.parametrize(("number", "forever"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_merging_fails_at_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_verify: None, number: int, forever: bool
) -> None:
    """HDF5 writes here, and a failed write crashes it unless it is kept from knowing."""
    cell = make_cell(tmp_path)
    write(cell, [0, 1], grid=GRID)
    write(cell, [2], grid=GRID)
    path = cell.merge(keys([0, 1, 2]), "all")
    expected = path.read_bytes()

    def act() -> None:
        path.unlink(missing_ok=True)
        cell.merge(keys([0, 1, 2]), "all")

    def check() -> None:
        assert not path.is_file() or path.read_bytes() == expected
        assert cell.merge(keys([0, 1, 2]), "all").read_bytes() == expected
        for left in tmp_path.rglob(".tmp-*"):
            left.unlink()

    assert _until_it_completes(monkeypatch, number, forever, act, check) > 30
    assert cell.verify() == []


def test_a_full_disk_does_not_crash_a_merge(tmp_path: Path) -> None:
    """In a process of its own and with many maps, on a disk that fills up in the middle."""
    code = """
import errno, os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from store_samples import keys, make_cell, write
from xai_framework.core.errors import StoreError
from xai_framework.store import atomic
cell = make_cell(Path(sys.argv[2]))
for i in range(0, 400, 100):
    write(cell, range(i, i + 100), grid=(1, 16, 16))
real, left = os.write, int(sys.argv[3])
def write_some(handle, data):
    global left
    data = memoryview(data)[:left]
    if not data:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    left -= len(data)
    return real(handle, data)
class Os:
    write = staticmethod(write_some)
    def __getattr__(self, name):
        return getattr(os, name)
atomic.os = Os()
try:
    cell.merge(keys(range(400)), "all")
except StoreError as error:
    print(error)
"""
    for left in (0, 100, 20_000, 300_000):
        folder = tmp_path / str(left)
        command = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder), str(left)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "maps-all.h5: cannot be written: No space left on device (" in done.stdout
        assert not list(folder.rglob("maps-*"))
        assert not list(folder.rglob(".tmp-*"))


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may write less than it was given."""
    monkeypatch.setattr(atomic.os, "write", lambda handle, data, real=os.write: real(handle, memoryview(data)[:1000]))
    data = os.urandom(12345)
    write_atomic(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == data


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = make_cell(tmp_path)
    write(cell, [0, 1], grid=GRID)
    written = 0

    def interrupted(handle: int, data: Any, real: Any = os.write) -> int:
        nonlocal written
        written += 1
        if written == 20:
            raise KeyboardInterrupt
        return real(handle, data)

    monkeypatch.setattr(atomic.os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cell.merge(keys([0, 1]), "all")
    monkeypatch.undo()
    assert cell.verify() == []
    assert not list(cell.path.glob("maps-*"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*cannot be written: Not a directory.*writable"):
        write(make_cell(tmp_path / "file" / "outputs"), [0])
    with pytest.raises(StoreError, match="cannot be written: File name too long"):
        write_atomic(tmp_path / ("x" * 300), b"")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_whether_a_folder_can_be_written_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.check_writable(tmp_path / "new/folder")
    assert [p.name for p in tmp_path.rglob("*")] == ["new", "folder"]
    monkeypatch.setattr(atomic, "os", FailingOs(1, errno.EROFS, True))
    with pytest.raises(StoreError, match=r"new: cannot be written: Read-only file system \(.*writable"):
        atomic.check_writable(tmp_path / "new")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written: Permission denied"):
        write(make_cell(tmp_path), [0])
    tmp_path.chmod(0o700)


# --- kill -9 ----------------------------------------------------------------------------------------------------------

_KILLED = """
import json, os, random, signal, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from store_samples import keys, make_cell, write

def child(pipe, first):
    cell = make_cell(Path(sys.argv[2]))
    for k in range(first, 100_000):
        write(cell, [3 * k, 3 * k + 1, 3 * k + 2], grid=(1, 4, 4))
        os.write(pipe, b"%d\\n" % k)
        if k % 4 == 3 and k - 3 >= first:
            cell.merge(keys(range(3 * k - 9, 3 * k + 3)), f"m{k % 8}")

acknowledged, seed, first, kills = [], random.Random(int(sys.argv[3])), 0, 0
while kills < int(sys.argv[4]) or len(acknowledged) <= int(sys.argv[4]):  # on a busy machine many come too early
    kills += 1
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        child(writing, first)
    os.close(writing)
    time.sleep(seed.uniform(0.02, 0.25))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with os.fdopen(reading, "rb") as pipe:
        done = [int(line) for line in pipe]
    acknowledged += done
    first = max([first, *done]) + 2
print(json.dumps(acknowledged))
"""


def _killed(root: Path, seed: int, kills: int) -> list[int]:
    """Kill a writer so often and until as many shards were acknowledged; returns their numbers."""
    command = [sys.executable, "-c", _KILLED, str(Path(__file__).parent), str(root), str(seed), str(kills)]
    return [int(k) for k in json.loads(subprocess.check_output(command))]


def _check_after_kills(root: Path, acknowledged: list[int]) -> None:
    cell = make_cell(root)
    rows = [3 * k + i for k in acknowledged for i in range(3)]
    found = cell.rows()
    assert set(keys(rows)) <= set(found)
    for name in {found[key] for key in keys(rows)}:
        with MapFile(cell.path / "shards" / name) as file:
            targets = file.columns["target"].tolist()
            np.testing.assert_array_equal(file.attribution, np.stack([map_of(i, GRID) for i in targets]))
    found_wrong = cell.verify()
    said = ("left over from an interrupted write", "not in the journal", "line", "its checksum is unknown")
    assert all(any(s in p.what for s in said) for p in found_wrong)
    assert not any(p.remove and p.remove.suffix == ".h5" for p in found_wrong)
    assert all("its checksum is unknown" in p.what for p in cell.repair())
    assert cell.rows().keys() == found.keys()
    with MapFile(cell.merge(keys(rows), "all")) as file:
        assert file.keys == keys(rows)


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged = _killed(tmp_path, seed=1, kills=20)
    assert len(acknowledged) > 20
    _check_after_kills(tmp_path, acknowledged)


@pytest.mark.slow
def test_a_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    _check_after_kills(tmp_path, _killed(tmp_path, seed=2, kills=100))


# --- a disk that forgets ----------------------------------------------------------------------------------------------


@pytest.fixture
def cell(tmp_path: Path) -> CellStore:
    """Three shards of four rows."""
    cell = make_cell(tmp_path)
    for i in (0, 4, 8):
        write(cell, range(i, i + 4), grid=GRID)
    return cell


def _truncate(path: Path, r: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: r.randrange(path.stat().st_size)])


def _flip(path: Path, r: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    path.write_bytes(data)


def _blank_page(path: Path, r: random.Random) -> None:
    data = bytearray(path.read_bytes())
    start = r.randrange(len(data) // 4096) * 4096
    data[start : start + 4096] = os.urandom(4096)
    path.write_bytes(data)


def _lengthen(path: Path, r: random.Random) -> None:
    path.write_bytes(path.read_bytes() + r.randbytes(r.randrange(1, 5000)))


def _swap(path: Path, r: random.Random) -> None:
    other = r.choice([p for p in path.parent.glob("*.h5") if p != path])
    mine = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(mine)


@pytest.mark.parametrize("break_it", [_truncate, _flip, _blank_page, _lengthen, _swap])
@pytest.mark.usefixtures("quick_verify")
def test_any_damage_is_found_and_only_what_is_lost_is_computed_anew(cell: CellStore, break_it: Any) -> None:
    r = random.Random(0)
    shards = list(cell.shard_files().values())
    whole = {p: p.read_bytes() for p in shards}
    expected = cell.merge(keys(range(12)), "all").read_bytes()
    for _ in range(30):
        path = r.choice(shards)
        break_it(path, r)
        broken = {p for p in shards if p.read_bytes() != whole[p]}
        found = {p.remove for p in cell.verify() if p.remove}
        assert found == broken
        (cell.path / "maps-all.h5").unlink()
        with pytest.raises(StoreError, match=r"does not match its checksum|rows are missing"):
            cell.merge(keys(range(12)), "all")
        assert all("next run" in p.what for p in cell.repair())
        missing = [i for i in range(12) if keys([i])[0] not in cell.rows()]
        assert len(missing) == 4 * len(broken)
        for first in missing[::4]:
            write(cell, range(first, first + 4), grid=GRID)
        assert cell.merge(keys(range(12)), "all").read_bytes() == expected
        assert cell.verify() == []
        assert {p: p.read_bytes() for p in shards} == whole


def test_a_damaged_map_is_named(cell: CellStore) -> None:
    path = cell.path / "shards" / cell.rows()[keys([5])[0]]
    data = path.read_bytes()
    place = data.index(map_of(5, GRID).tobytes())
    path.write_bytes(data[:place] + b"\x00" + data[place + 1 :])
    name = repr(keys([5])[0][0])
    assert [str(p) for p in cell.verify()] == [f"shards/{path.name}: does not match its checksum (map of {name})"]
    with pytest.raises(StoreError, match=r"does not match its checksum \(map of 'n005"):
        cell.merge(keys(range(12)), "all")
    with MapFile(path) as file:
        np.testing.assert_array_equal(file.attribution[[0, 2, 3]], np.stack([map_of(i, GRID) for i in (4, 6, 7)]))
        for act in (lambda: file.row(1), lambda: file.attribution[:], lambda: np.asarray(file.attribution)):
            with pytest.raises(StoreError, match=r"the map of 'n005.*' is damaged"):
                act()


def test_a_damaged_column_is_named(cell: CellStore) -> None:
    path = next(iter(cell.shard_files().values()))
    data = path.read_bytes()
    place = data.index(make_block(range(4)).probability.tobytes())
    path.write_bytes(data[:place] + b"\x01" + data[place + 1 :])
    with MapFile(path) as file, pytest.raises(StoreError, match="'probability' is damaged"):
        file.row(0)


def test_a_file_that_makes_hdf5_hang_does_not_hang_us(cell: CellStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage, "_ASK", "import time; time.sleep(60)")
    monkeypatch.setattr(damage, "_SECONDS", 0.2)
    _flip(next(iter(cell.shard_files().values())), random.Random(0))
    assert [p.what for p in cell.verify()] == ["does not match its checksum"]


def test_a_shard_that_was_cut_short_is_not_counted(cell: CellStore) -> None:
    """As a power cut may leave it: the rows are computed again without anybody asking for it."""
    shards = list(cell.shard_files().values())
    _truncate(shards[0], random.Random(0))
    shards[1].write_bytes(b"")
    assert set(cell.rows().values()) == {shards[2].name}


def test_a_deleted_shard_is_missed_until_its_rows_are_back(cell: CellStore) -> None:
    name = cell.rows()[keys([4])[0]]
    (cell.path / "shards" / name).unlink()
    assert set(cell.rows()) == set(keys([0, 1, 2, 3, 8, 9, 10, 11]))
    gone = f"shards/{name}: is gone, and with it 4 maps, e.g. of {keys([4])[0][0]!r}"
    assert [str(p) for p in cell.verify()] == [gone]
    write(cell, [4, 5], grid=GRID)
    write(cell, [6, 7], grid=GRID)
    assert cell.verify() == []


def test_a_lost_journal_is_made_again(cell: CellStore) -> None:
    rows = cell.rows()
    journal = cell.journal_path.read_bytes()
    cell.journal_path.unlink()
    assert sorted(p.what for p in cell.verify()) == ["is not in the journal; the next run adds it"] * 3
    assert cell.rows() == rows
    assert cell.verify() == []
    assert sorted(cell.journal_path.read_bytes().split(b"\n")) == sorted(journal.split(b"\n"))


def test_a_lost_journal_of_a_damaged_shard_does_not_bless_it(cell: CellStore) -> None:
    path = cell.path / "shards" / cell.rows()[keys([4])[0]]
    cell.journal_path.unlink()
    _flip(path, random.Random(3))
    assert set(cell.rows()) == set(keys([0, 1, 2, 3, 8, 9, 10, 11]))
    assert [p.remove for p in cell.verify() if p.remove] == [path]


def test_lost_lists_of_rows_are_read_from_the_shards(cell: CellStore) -> None:
    rows = cell.rows()
    lists = cell.path / "rows.jsonl"
    lists.write_bytes(lists.read_bytes()[:-10])
    assert make_cell(cell.path.parents[1]).rows() == rows
    lists.unlink()
    assert make_cell(cell.path.parents[1]).rows() == rows


@pytest.mark.parametrize("cut", [1, 2, 30, 150])
def test_a_torn_last_line_spoils_no_other(cell: CellStore, cut: int) -> None:
    rows = cell.rows()
    cell.journal_path.write_bytes(cell.journal_path.read_bytes()[:-cut])
    torn = cut > 1  # the last byte is the line's end
    assert any("not in the journal" in p.what for p in cell.verify()) == torn
    write(cell, [20], grid=GRID)
    assert cell.rows().items() > rows.items()
    assert [p.what for p in cell.verify()] == (["line 6 is damaged"] if torn else [])
    assert cell.repair() == []
    assert cell.rows().items() > rows.items()


def test_a_wrong_digit_in_a_journal_is_noticed_and_its_shard_read(cell: CellStore) -> None:
    """Wherever it stands: a line that can be read may still be wrong."""
    rows, whole = cell.rows(), cell.journal_path.read_bytes()
    first = whole.split(b"\n")[1]
    places = [i for i, c in enumerate(first, 1) if chr(c).isdecimal()]
    assert len(places) > 60
    for place in places[::4]:
        data = bytearray(whole)
        data[place] = ord("7") if data[place] != ord("7") else ord("2")
        cell.journal_path.write_bytes(data)
        assert make_cell(cell.path.parents[1]).rows() == rows
        assert {p.what for p in cell.verify()} <= {"line 2 is damaged"}
        assert cell.repair() == []


@pytest.mark.parametrize("line", [b"\xff\x00", b"[]", b'{"shard": 1}', b"[" * 99_999, b'{"n":0,"rows":[],"status":[]}'])
def test_a_foreign_journal_line_is_passed_over(cell: CellStore, line: bytes) -> None:
    rows = cell.rows()
    with cell.journal_path.open("ab") as journal:
        journal.write(line + b"\n")
    assert cell.rows() == rows
    assert [p.what for p in cell.verify()] == ["line 7 is damaged"]


def test_a_journal_cannot_name_files_elsewhere(cell: CellStore, tmp_path: Path) -> None:
    (tmp_path / "secret.h5").write_bytes(next(iter(cell.shard_files().values())).read_bytes())
    text = cell.journal_path.read_text()
    cell.journal_path.write_text(text.replace(cell.rows()[keys([0])[0]], "../../../secret.h5"))
    assert not any("secret" in name for name in cell.rows().values())


def test_a_shard_of_another_cell_is_found(cell: CellStore, tmp_path: Path) -> None:
    other = make_cell(tmp_path, {"another": "cell"})
    stray = write(other, [50], grid=GRID)
    path = stray.rename(cell.path / "shards" / stray.name)
    assert keys([50])[0] not in cell.rows()
    assert [str(p) for p in cell.verify() if p.remove] == [f"shards/{path.name}: belongs to another cell"]
    assert cell.repair() == []


def test_a_damaged_merged_file_is_found_and_made_anew(cell: CellStore) -> None:
    path = cell.merge(keys(range(12)), "all")
    expected = path.read_bytes()
    _flip(path, random.Random(5))
    assert [p.remove for p in cell.verify()] == [path]
    assert cell.repair() == []
    assert cell.merge(keys(range(12)), "all").read_bytes() == expected


def test_a_merged_file_whose_shards_are_gone_is_kept(cell: CellStore) -> None:
    path = cell.merge(keys(range(12)), "all")
    for shard in cell.shard_files().values():
        shard.unlink()
    assert any("other shards" in p.what for p in cell.verify())
    cell.repair()
    assert path.is_file()


def test_leftovers_of_a_living_writer_are_left_alone(cell: CellStore) -> None:
    living, dead = os.getppid(), 2**22 + 1  # above the largest process number
    mine = cell.path / "shards" / f".tmp-{living}-00aa@{platform.node()}"
    dead_one = cell.path / "shards" / f".tmp-{dead}-00aa@{platform.node()}"
    elsewhere = cell.path / f".tmp-{living}-00aa@elsewhere"
    for path in (mine, dead_one, elsewhere):
        path.write_bytes(b"half a shard")
    assert {p.remove for p in cell.verify()} == {dead_one, elsewhere}
    assert cell.repair() == []
    assert mine.is_file()


# --- anything in any order --------------------------------------------------------------------------------------------


class StoreMachine(RuleBasedStateMachine):
    """Units are stored, lost and damaged in any order; the model is the set of rows that must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.cell = make_cell(Path(self.folder.name))
        self.rows: set[int] = set()

    def teardown(self) -> None:
        self.folder.cleanup()

    def _shard(self, number: int) -> tuple[Path, set[int]] | None:
        """One of the shards and the rows that only it holds."""
        shards = list(self.cell.shard_files().values())
        if not shards:
            return None
        path = shards[number % len(shards)]
        held = {p: set(_rows_in(p)) for p in shards}
        return path, held[path].difference(*(rows for p, rows in held.items() if p != path))

    @rule(first=st.integers(0, 20), count=st.integers(1, 4))
    def store(self, first: int, count: int) -> None:
        write(self.cell, range(first, first + count), grid=GRID)
        self.rows |= set(range(first, first + count))

    @rule(number=st.integers(0, 50))
    def delete(self, number: int) -> None:
        if chosen := self._shard(number):
            chosen[0].unlink()
            self.rows -= chosen[1]

    @rule(number=st.integers(0, 50), how=st.sampled_from([_truncate, _flip, _blank_page]))
    def damage_and_repair(self, number: int, how: Any) -> None:
        if chosen := self._shard(number):
            before = chosen[0].read_bytes()
            how(chosen[0], random.Random(number))
            if chosen[0].read_bytes() != before:
                assert chosen[0] in {p.remove for p in self.cell.verify()}
                self.cell.repair()
                self.rows -= chosen[1]

    @rule()
    def lose_journal(self) -> None:
        self.cell.journal_path.unlink(missing_ok=True)

    @rule(cut=st.integers(1, 900))
    def tear_journal(self, cut: int) -> None:
        if self.cell.journal_path.is_file():
            self.cell.journal_path.write_bytes(self.cell.journal_path.read_bytes()[:-cut])

    @rule()
    def merge(self) -> None:
        if self.rows:
            wanted = sorted(self.rows)
            with MapFile(self.cell.merge(keys(wanted), "all")) as file:
                np.testing.assert_array_equal(file.attribution, np.stack([map_of(i, GRID) for i in wanted]))

    @rule()
    def open_again(self) -> None:
        self.cell = make_cell(Path(self.folder.name))

    @invariant()
    def holds_what_it_should(self) -> None:
        assert set(self.cell.rows()) == set(keys(self.rows))


def _rows_in(path: Path) -> list[int]:
    with MapFile(path) as file:
        return [int(i) for i in file.columns["target"]]


@pytest.mark.usefixtures("quick_verify")
def test_anything_in_any_order() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    few = settings(max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(StoreMachine, settings=few)
