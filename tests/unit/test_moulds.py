"""Layouts of shards are used again: the bytes are the same, and it is less work."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_samples import ATTRIBUTES, keys, make_block, make_cell, map_of, write

from xai_framework.core.errors import StoreError
from xai_framework.store import MapFile, atomic, identity, merge, moulds
from xai_framework.store.moulds import Moulds
from xai_framework.store.reader import Chunk

NAMES = {"cell": "", "identity": ""}


class Counted:
    """Calls of a function that goes on doing what it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.calls: list[Any] = []
        real = getattr(module, name)

        def call(*args: Any, **how: Any) -> Any:
            self.calls.append(args)
            return real(*args, **how)

        monkeypatch.setattr(module, name, call)

    def __len__(self) -> int:
        return len(self.calls)


# --- shards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 5, 64, 65, 130])  # HDF5 splits its index of chunks at 64
@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 7, 7), (3, 32, 24)])
def test_a_shard_has_the_same_bytes_whatever_was_made_before(rows: int, grid: tuple[int, int, int]) -> None:
    made = Moulds()
    for first in (0, 200, 401, 77):
        failed = [first + 1] if rows > 1 else []
        block = make_block(range(first, first + rows), grid=grid, failed=failed)
        assert bytes(made.cast(block, NAMES)) == bytes(Moulds().cast(block, NAMES))


def test_a_shard_from_a_mould_holds_its_own_rows(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    for first in (0, 10, 20):
        path = write(cell, range(first, first + 10), failed=[first + 3])
    with MapFile(path) as file:
        assert file.keys == keys(range(20, 30))
        assert file.columns["reason"][3] == "picture 23 is truncated"
        assert file.columns["target_name"][4] == "Klasse ßßßß"
        assert file.columns["score"][5] == 12.5
        np.testing.assert_array_equal(file.attribution[9], map_of(29, (1, 7, 7)))
        assert np.isnan(file.attribution[3]).all()
    assert cell.verify() == []


def test_files_are_laid_out_anew_for_the_first_two_shards_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one proves the mould; texts of other lengths are no other form."""
    laid_out = Counted(monkeypatch, moulds, "create")
    made = Moulds()
    for name in ("cat", "fish", "owl", "bear", "dog"):
        made.cast(make_block(range(4), target_name=(name,) * 4), NAMES)
    assert len(laid_out) == 2  # "cat" takes 4 bytes as "fish" does
    made.cast(make_block(range(4), target_name=("salamander",) * 4), NAMES)
    made.cast(make_block(range(3)), NAMES)
    made.cast(make_block(range(4), target_name=("cat",) * 4), NAMES | {"more": "text"})
    assert len(laid_out) == 5  # each is another form


def test_only_few_forms_are_kept() -> None:
    made = Moulds()
    for rows in range(1, 30):
        made.cast(make_block(range(rows)), NAMES)
    assert len(made._kept) == 4


@pytest.mark.parametrize("how", ["other bytes", "an error"])
def test_a_mould_that_gives_other_bytes_is_not_used(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """As another version of HDF5 might: then every shard is laid out by it."""
    blocks = [make_block(range(first, first + 4)) for first in (0, 4, 8, 12)]
    expected = [bytes(Moulds().cast(block, NAMES)) for block in blocks]

    def filled(*_: Any) -> memoryview:
        if how == "an error":
            raise OSError("wrong B-tree signature")
        return memoryview(bytes(8))

    monkeypatch.setattr(moulds, "_filled", filled)
    made = Moulds()
    assert [bytes(made.cast(block, NAMES)) for block in blocks] == expected


def test_texts_are_padded_in_shards_and_not_in_merged_files(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    shard = write(cell, range(12))
    with h5py.File(shard) as file, h5py.File(cell.merge(keys(range(12)), "all")) as merged:
        assert file["image_id"].shape == (12, 32)  # "n000 äöü/日本.jpg" is 22 bytes
        assert merged["image_id"].shape == (12, 22)
        assert file["label"].shape == merged["label"].shape == (12, 1)  # all are empty


def test_a_shard_costs_two_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own and its folder's; the note beside it and the journal can be lost without losing a map."""
    cell = make_cell(tmp_path)
    write(cell, [0])
    synced = Counted(monkeypatch, os, "fsync")
    write(cell, [1])
    assert len(synced) == 2
    assert atomic.os is os


def test_a_cell_can_be_sent_to_another_process_after_writing(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    for first in (0, 4, 8):
        write(cell, range(first, first + 4))
    twin = pickle.loads(pickle.dumps(cell))
    path = write(twin, range(12, 16))
    assert path == write(cell, range(12, 16))
    assert path.read_bytes() == bytes(
        Moulds().cast(
            make_block(range(12, 16)), {"cell": cell.id, "identity": identity.canonical(cell.identity), **ATTRIBUTES}
        )
    )


# --- merged files -----------------------------------------------------------------------------------------------------


def test_merging_reads_each_shard_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its checksum; and HDF5 opens it once. Reading maps takes none of that."""
    cell = make_cell(tmp_path)
    shards = {write(cell, range(first, first + 10)) for first in range(0, 50, 10)}
    digests = [Counted(monkeypatch, module, "file_digest") for module in (merge, identity)]
    opened = Counted(monkeypatch, merge, "MapFile")
    order = keys(range(50))[::-1]
    path = cell.merge(order, "all")
    assert sorted(call[0] for counted in digests for call in counted.calls) == sorted(shards)
    assert sorted(call[0] for call in opened.calls) == sorted(shards)
    with MapFile(path) as file:
        for row in range(50):
            np.testing.assert_array_equal(file.attribution[row], map_of(49 - row, (1, 7, 7)))


def test_a_shard_that_is_cut_while_it_is_merged_is_named(tmp_path: Path) -> None:
    path = write(make_cell(tmp_path), [0, 1])
    with merge._Open() as files:
        assert len(files.read(path, Chunk(0, 100, 0))[1]) == 100
        with pytest.raises(StoreError, match="checksum"):
            files.read(path, Chunk(path.stat().st_size - 5, 10, 0))
        with pytest.raises(StoreError, match="cannot be read"):
            files.read(path.with_name("gone.h5"), Chunk(0, 1, 0))
