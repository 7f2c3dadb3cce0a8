"""Damaged and hostile result files: the one who opens them gets an error, never a hang or a crash."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from store_samples import key, keys, make_cell, write

from benchmarks import fuzz_hdf5
from xai_framework.core.errors import StoreError
from xai_framework.store import CellStore, MapFile, foreign, open_run, write_run

HANGS = "import time; time.sleep(60)"
CRASHES = "import os; os.abort()"
BREAKS_OFF = "print('{')"


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Nothing is remembered from other tests."""
    foreign._digest.cache_clear()
    foreign._examined.cache_clear()


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    return _merged(make_cell(tmp_path / "store"))


def _merged(cell: CellStore) -> Path:
    write(cell, [0, 1, 2])
    return cell.merge(keys([0, 1, 2]), "all")


def _asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are examined in another process."""
    seen: list[str] = []
    run = subprocess.run

    def record(command: list[str], **how: object) -> object:
        seen.append(Path(command[4]).name)
        return run(command, **how)  # type: ignore[call-overload]

    monkeypatch.setattr(foreign.subprocess, "run", record)
    return seen


def test_mutated_files_are_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same 100 of which benchmarks.fuzz_hdf5 takes 5,000; one of them makes HDF5 hang."""
    monkeypatch.setattr(fuzz_hdf5, "LATE", 3.0)
    monkeypatch.setattr(foreign, "SECONDS", 2.0)
    found = fuzz_hdf5.fuzz(fuzz_hdf5.write_mutants(tmp_path, 100))
    counts = found["counts"]
    assert not [name for name in counts if name.startswith("parent: opened")]
    assert counts["parent: read"] == counts["ok"] > 20
    assert counts["parent: refused"] == 100 - counts["ok"]


@pytest.mark.parametrize(
    ("program", "said"), [(HANGS, "keeps HDF5 busy"), (CRASHES, "HDF5 crashes"), (BREAKS_OFF, "HDF5 crashes")]
)
def test_what_hdf5_does_not_survive_is_refused(
    program: str, said: str, merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged.with_suffix(".json").unlink()
    monkeypatch.setattr(foreign, "SECONDS", 0.5)
    monkeypatch.setattr(foreign, "_ASK", program)
    for opened in (MapFile, open_run):
        with pytest.raises(StoreError, match=f"{merged}.*{said}.*another copy"):
            opened(merged)


def test_what_needs_too_much_memory_is_refused(merged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = (
        "import sys; sys.path.append(sys.argv[2]); from xai_framework.store import foreign, reader; "
        "reader.survey = lambda path: bytearray(5 << 30); foreign.main(sys.argv[1])"
    )
    merged.with_suffix(".json").unlink()
    monkeypatch.setattr(foreign, "_ASK", ask)
    with pytest.raises(StoreError, match="needs more than 4 GB of memory"):
        MapFile(merged)


def test_only_files_without_their_checksum_are_examined_and_once(merged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = next((merged.parent / "shards").glob("*.h5"))
    asked = _asked(monkeypatch)
    for path in (merged, shard):
        MapFile(path).close()
    assert asked == []
    stranger = merged.with_name("stranger.h5")
    stranger.write_bytes(merged.read_bytes())
    for _ in range(2):
        MapFile(stranger).close()
    assert asked == ["stranger.h5"]
    os.utime(stranger, ns=(1, 1))  # it may be another file now
    MapFile(stranger).close()
    assert asked == ["stranger.h5"] * 2


@pytest.mark.parametrize("mark", ["", "{", "[]", "{}", '{"sha256": 3}', '{"sha256": ""}', "[" * 99_999])
def test_a_mark_that_says_nothing_vouches_for_nothing(mark: str, merged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _asked(monkeypatch)
    merged.with_suffix(".json").write_text(mark)
    assert foreign.sealed(merged) is None
    MapFile(merged).close()
    assert asked == [merged.name]


def test_damage_in_a_run_is_refused_even_where_hdf5_would_read_on(tmp_path: Path) -> None:
    """The addresses of two maps exchanged: every map passes its own checksum, but under the other's name."""
    cell = make_cell(tmp_path / "store")
    merged = _merged(cell)
    fact = {"label": "gradcam", "id": cell.id, "file": str(merged.relative_to(tmp_path))}
    folder = tmp_path / "runs" / "demo"
    write_run(folder, {"study": "demo", "cells": [fact]})
    assert open_run(folder)["gradcam"].shape == (3, 1, 7, 7)
    data = merged.read_bytes()
    with MapFile(merged) as file:
        first, second = (file._file["attribution"].id.get_chunk_info(i).byte_offset for i in (0, 1))
    a, b = (n.to_bytes(8, "little") for n in (first, second))
    merged.write_bytes(data.replace(a, b"=mark===").replace(b, a).replace(b"=mark===", b))
    with MapFile(merged) as file:  # opened by itself it is examined, which cannot tell
        assert file.row(0).id == key(0)[0]
    maps = open_run(folder)["gradcam"]
    for use in (lambda: maps[0], maps.to_xarray):
        with pytest.raises(StoreError, match="does not match its checksum"):
            use()


def test_a_distrusted_run_is_examined_whatever_its_checksums_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell(tmp_path / "store")
    merged = _merged(cell)
    fact = {"label": "gradcam", "id": cell.id, "file": str(merged.relative_to(tmp_path))}
    write_run(tmp_path / "runs" / "demo", {"study": "demo", "cells": [fact]})
    asked = _asked(monkeypatch)
    assert len(open_run(tmp_path / "runs" / "demo", examine=True)["gradcam"]) == 3
    assert asked == [merged.name]
    assert len(open_run(merged, examine=True)) == 1
    monkeypatch.setattr(foreign, "_ASK", CRASHES)
    foreign._examined.cache_clear()
    with pytest.raises(StoreError, match="HDF5 crashes"):
        len(open_run(tmp_path / "runs" / "demo", examine=True)["gradcam"])


def test_neighbours_of_a_foreign_file_are_not_imported(merged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged.with_suffix(".json").unlink()
    for name in ("numpy", "h5py", "json", "xai_framework"):
        (merged.parent / f"{name}.py").write_text("open('pwned', 'w')\n")
    monkeypatch.chdir(merged.parent)
    MapFile(merged.name).close()
    assert not Path("pwned").exists()
