"""What is stored is what is read, by us and by others; equal results are equal bytes."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import ATTRIBUTES, IDENTITY, key, keys, make_block, make_cell, map_of, write

from xai_framework.core.errors import StoreError
from xai_framework.core.status import Status
from xai_framework.store import MapFile, Store, canonical, cell_id, open_cell, open_run, read_run, write_run
from xai_framework.store.moulds import Moulds

ENGINES = ("h5netcdf", "netcdf4")


# --- identity ---------------------------------------------------------------------------------------------------------


def test_a_cell_is_named_by_the_hash_of_its_canonical_json() -> None:
    text = '{"a":0.1,"b":[1,{"c":null,"ä":true}]}'
    data = {"b": (1, {"ä": True, "c": None}), "a": 0.1}
    assert canonical(data) == text
    assert cell_id(data) == hashlib.sha256(text.encode()).hexdigest()
    assert cell_id({"a": 1}) != cell_id({"a": 1.5})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32(1), {1, 2}, Path("a"), "\udcff", b"x"])
def test_what_is_no_json_cannot_be_an_identity(value: object) -> None:
    with pytest.raises(StoreError, match="cannot be stored as JSON"):
        cell_id({"a": value})


def test_folders_have_safe_readable_names(tmp_path: Path) -> None:
    cell = Store(tmp_path).cell("../../etc/../évil name", "..", {"a": 1})
    path = write(cell, [0])
    assert cell.path == tmp_path / "_.._etc_..__vil_name" / f"_-{cell.id[:12]}"
    assert path.is_relative_to(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["_.._etc_..__vil_name"]


def test_nothing_is_written_before_the_first_rows(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    assert cell.rows() == {}
    assert cell.verify() == []
    assert list(tmp_path.iterdir()) == []


def test_a_tampered_identity_is_refused(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    write(cell, [0])
    assert open_cell(cell.path).id == cell.id
    file = cell.path / "cell.json"
    file.write_text(file.read_text().replace("gradcam", "gradcom"))
    for act in (lambda: open_cell(cell.path), lambda: write(cell, [1]), cell.check_identity):
        with pytest.raises(StoreError, match="identity was changed"):
            act()
    assert any("identity was changed" in p.what for p in cell.verify())
    file.write_text("[1")
    with pytest.raises(StoreError, match=r"cell\.json: is damaged"):
        open_cell(cell.path)
    with pytest.raises(StoreError, match="is no cell"):
        open_cell(tmp_path)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_every_field_of_a_row_comes_back(tmp_path: Path) -> None:
    block = make_block([3, 1, 2], failed=[1])
    with MapFile(make_cell(tmp_path).write(block, ATTRIBUTES, {})) as file:
        assert file.ids == block.ids
        assert file.keys == keys([3, 1, 2])
        assert file.attributes["config_yaml"] == ATTRIBUTES["config_yaml"]
        assert json.loads(file.attributes["identity"]) == IDENTITY
        assert len(file) == 3
        first, failed, _ = file
    np.testing.assert_array_equal(first.attribution, map_of(3, (1, 7, 7)))
    assert first.status is Status.ok
    assert (first.id, first.content) == key(3)
    assert (first.target, first.target_name, first.score, first.probability) == (3, "Klasse ßßß", 1.5, 0.25)
    assert (first.prediction, first.prediction_name, first.prediction_probability) == (4, "class 4", 0.75)
    assert (first.label, first.reason) == ("", "")
    assert (first.view, first.image_size, first.input_size) == ((16.0, 16.0, 240.0, 240.0), (256, 300), (224, 224))
    assert failed.status is Status.failed
    assert failed.reason == "picture 1 is truncated"
    assert np.isnan(failed.attribution).all()
    assert failed.attribution.shape == (1, 7, 7)


def test_rows_are_found_by_id_and_content(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    first, second = write(cell, [0, 1]), write(cell, [5])
    assert cell.rows() == {key(0): first.name, key(1): first.name, key(5): second.name}
    assert (key(0)[0], "another content") not in make_cell(tmp_path).rows()


def test_volatile_facts_stay_beside_the_shard(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    path = cell.write(make_block([0]), ATTRIBUTES, {"host": "there", "device": Path("x")})
    assert json.loads(path.with_suffix(".json").read_text()) == {"host": "there", "device": "x"}
    assert b"there" not in path.read_bytes()
    assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()[:32] + ".h5"


def test_a_map_takes_the_place_of_a_failure_but_never_of_a_map(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    write(cell, [0, 1], failed=[0])
    good = write(cell, [0])
    write(cell, [0, 2], failed=[0])
    assert cell.rows()[key(0)] == good.name
    summary = cell.summary(keys(range(9)))
    assert summary.counts == {"ok": 3}
    assert summary.failures == []


def test_the_summary_counts_and_gives_reasons(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    write(cell, [0, 1, 2], failed=[1])
    write(cell, [3], failed=[3])
    assert cell.summary(keys([3, 0, 1, 7])).counts == {"ok": 1, "failed": 2}
    assert cell.failures(keys([3, 0, 1, 7])) == [
        (key(3)[0], "picture 3 is truncated"),
        (key(1)[0], "picture 1 is truncated"),
    ]


HOSTILE_IDS = (
    "../../x",
    "/etc/passwd",
    "a\"b'c",
    "line\nbreak",
    "x" * 255,
    "<script>",
    " ",
    "",
    "a\\b",
    "e\u0301",
    "\u202e",
)


def test_any_id_is_stored_and_none_becomes_a_file_name(tmp_path: Path) -> None:
    block = make_block(range(len(HOSTILE_IDS)), ids=HOSTILE_IDS)
    cell = make_cell(tmp_path / "store")
    path = cell.write(block, ATTRIBUTES, {})
    with MapFile(path) as file:
        assert file.ids == HOSTILE_IDS
    assert set(cell.rows()) == set(block.keys)
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    assert cell.verify() == []


@pytest.mark.parametrize("text", ["x" * 256, "ä" * 128, "a\x00", "\udcff.jpg"])
@pytest.mark.parametrize("field", ["ids", "contents"])
def test_an_id_that_cannot_be_stored_is_refused(field: str, text: str) -> None:
    with pytest.raises(StoreError, match="image id"):
        make_block([0], **{field: (text,)})


def test_free_text_that_hdf5_cannot_hold_is_mended(tmp_path: Path) -> None:
    block = make_block([0], reason=("a\x00b\udcff",))
    with MapFile(make_cell(tmp_path).write(block, {"note": "c\x00"}, {})) as file:
        assert file.row(0).reason == "a?b?"
        assert file.attributes["note"] == "c?"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attribution": np.zeros((2, 7, 7), np.float32)}, "maps must be float32"),
        ({"attribution": np.zeros((2, 1, 7, 7))}, "maps must be float32"),
        ({"attribution": np.zeros((2, 1, 0, 7), np.float32)}, "maps must be float32"),
        ({"attribution": np.zeros((3, 1, 7, 7), np.float32)}, "2 ids, but {'attribution': 3}"),
        ({"reason": ("",)}, "2 ids, but {'reason': 1}"),
        ({"score": np.zeros(2)}, "score must be <f4"),
        ({"view": np.zeros((2, 3))}, "view must be <f8"),
        ({"status": np.array([0, 9], np.int8)}, r"no such status: \[9\]"),
        ({"ids": ("a", "a"), "contents": ("b", "b")}, "stands twice"),
    ],
)
def test_a_block_that_disagrees_with_itself_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        make_block([0, 1], **changes)


@pytest.mark.parametrize("attributes", [{"schema": "x"}, {"cell": "x"}, {"n": 3}])
def test_attributes_are_texts_and_not_the_stores_own(tmp_path: Path, attributes: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="attribute"):
        make_cell(tmp_path).write(make_block([0]), attributes, {})


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_equal_results_are_equal_bytes_in_every_process() -> None:
    code = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1]); import store_samples as s;"
        "from xai_framework.store.moulds import Moulds;"
        "print(hashlib.sha256(Moulds().cast(s.make_block(range(9), failed=[4]), s.ATTRIBUTES)).hexdigest())"
    )
    here = hashlib.sha256(Moulds().cast(make_block(range(9), failed=[4]), ATTRIBUTES)).hexdigest()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC-{seed}"}
        command = [sys.executable, "-c", code, str(Path(__file__).parent)]
        assert subprocess.check_output(command, env=environment, text=True).strip() == here


def test_a_value_that_differs_is_another_shard(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    changed = map_of(0, (1, 7, 7))[None].copy()
    changed[0, 0, 0, 0] = np.nextafter(changed[0, 0, 0, 0], np.float32(9))
    assert write(cell, [0]) == write(cell, [0]) != write(cell, [0], attribution=changed)
    assert len(cell.shard_files()) == 2


def _cut(rows: list[int], places: set[int]) -> list[list[int]]:
    edges = [0, *sorted(places), len(rows)]
    return [rows[a:b] for a, b in itertools.pairwise(edges) if a < b]


@given(
    order=st.permutations(range(12)),
    places=st.sets(st.integers(1, 11)),
    failed=st.sets(st.integers(0, 11)),
    twice=st.lists(st.integers(0, 11), max_size=3, unique=True),
)
@settings(max_examples=25, deadline=None)
def test_merged_bytes_do_not_depend_on_the_cut(
    order: list[int], places: set[int], failed: set[int], twice: list[int]
) -> None:
    """Any cut, any order of writing, rows computed twice, and shards in which every image failed."""
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = make_cell(Path(folder) / "a"), make_cell(Path(folder) / "b")
        write(whole, list(range(12)), failed=failed)
        for rows in (*_cut(order, places), *([twice] if twice else [])):
            write(cut, rows, failed=failed)
        expected, merged = (cell.merge(keys(range(12)), "all").read_bytes() for cell in (whole, cut))
        assert merged == expected
        assert whole.verify() == cut.verify() == []


def test_merged_rows_come_in_the_order_asked_for(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    write(cell, [0, 1, 2], failed=[1])
    write(cell, [3, 4])
    order = [4, 0, 1, 3]
    with MapFile(cell.merge(keys(order), "some")) as file:
        assert file.keys == keys(order)
        assert file.columns["target"].tolist() == [4, 0, -1, 3]
        expected = np.stack([np.full((1, 7, 7), np.nan) if i == 1 else map_of(i, (1, 7, 7)) for i in order])
        np.testing.assert_array_equal(file.attribution, expected)


def test_more_shards_than_may_be_open_at_once(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    for i in range(40):
        write(cell, [i, i + 40], grid=(1, 2, 2))
    with MapFile(cell.merge(keys(range(80)), "all")) as file:
        np.testing.assert_array_equal(file.attribution, np.stack([map_of(i, (1, 2, 2)) for i in range(80)]))


def test_memory_does_not_grow_with_the_maps(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    for i in range(0, 160, 20):
        write(cell, range(i, i + 20), grid=(1, 128, 128))
    tracemalloc.start()
    path = cell.merge(keys(range(160)), "all")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 160 * 128 * 128 * 4
    assert peak < 3 << 20


def test_merging_again_does_nothing_until_something_changed(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    write(cell, [0, 1], failed=[1])
    path = cell.merge(keys([0, 1]), "all")
    before = path.stat()
    assert cell.merge(keys([0, 1]), "all").stat().st_ino == before.st_ino
    write(cell, [2])
    assert cell.merge(keys([0, 1]), "all").stat().st_ino == before.st_ino
    write(cell, [1])  # the image that failed now has a map
    assert [str(p) for p in cell.verify()] == [
        "maps-all.h5: was made of other shards than there are now; the next run makes it anew"
    ]
    with MapFile(cell.merge(keys([0, 1]), "all")) as file:
        assert file.row(1).status is Status.ok
    assert cell.verify() == []
    path.write_bytes(path.read_bytes()[:-9])
    with MapFile(cell.merge(keys([0, 1]), "all")) as file:
        assert len(file) == 2


def test_only_attributes_that_all_shards_share_are_merged(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    cell.write(make_block([0]), {"plugin": "a 1.0", "config": "one"}, {})
    cell.write(make_block([1]), {"plugin": "a 1.0", "config": "two"}, {})
    for order in ([0, 1], [1, 0]):
        with MapFile(cell.merge(keys(order), "all")) as file:
            assert set(file.attributes) == {"Conventions", "schema", "cell", "identity", "plugin"}


def test_what_cannot_be_merged_is_said(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    write(cell, [0])
    with pytest.raises(StoreError, match=r"1 rows are missing, e\.g\. 'n007"):
        cell.merge(keys([0, 7]), "all")
    for rows in ([], [0, 0]):
        with pytest.raises(StoreError, match="no rows, or one twice"):
            cell.merge(keys(rows), "all")
    write(cell, [1], grid=(1, 8, 8))
    with pytest.raises(StoreError, match=r"maps differ in size: 1x7x7 in \w+\.h5, 1x8x8 in \w+\.h5.*exact resize"):
        cell.merge(keys([0, 1]), "all")
    assert not list(cell.path.glob("maps-*"))


# --- the file for others ----------------------------------------------------------------------------------------------


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    cell = make_cell(tmp_path)
    write(cell, [0, 1], failed=[1])
    write(cell, [2])
    return cell.merge(keys([0, 1, 2]), "all")


@pytest.mark.parametrize("engine", ENGINES)
def test_xarray_opens_it_directly(merged: Path, engine: str) -> None:
    with xarray.open_dataset(merged, engine=engine) as data, MapFile(merged) as file:
        assert data.attribution.dims == ("image", "channel", "y", "x")
        assert data.attribution.dtype == np.float32
        np.testing.assert_array_equal(data.attribution.values, file.attribution)
        for name, column in file.columns.items():
            values = data[name].values.tolist()
            np.testing.assert_array_equal(values, column if isinstance(column, list) else column.tolist())
            assert not isinstance(column, list) or {type(v) for v in values} == {str}
        # seven cells over 224 pixels
        assert data.y.values.tolist() == data.x.values.tolist() == [16, 48, 80, 112, 144, 176, 208]
        assert set(data.coords) == {"image", "channel", "y", "x", "image_id", "label", "target_name", "status"}
        meanings = dict(zip(data.status.flag_values.tolist(), data.status.flag_meanings.split(), strict=True))
        assert meanings == {int(s): s.name for s in Status}
        assert data.attrs["schema"] == "xai-maps/1"
        assert json.loads(data.attrs["identity"]) == IDENTITY
        by_name = data.set_index(image="image_id").sel(image=key(2)[0])
        assert by_name.target.item() == 2
        assert data.attribution.sel(image=2, y=50, x=40, method="nearest").item() == map_of(2, (1, 7, 7))[0, 1, 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_long_config_fits(tmp_path: Path, engine: str) -> None:
    text = "# ä line\n" * 30_000
    path = make_cell(tmp_path).write(make_block([0]), {"config": text}, {})
    with xarray.open_dataset(path, engine=engine) as data:
        assert data.attrs["config"] == text


def test_coordinates_count_cells_where_no_input_size_is_known(tmp_path: Path) -> None:
    block = make_block([0, 1], input_size=np.array([[224, 224], [200, 224]], np.int32))
    with h5py.File(make_cell(tmp_path).write(block, {}, {})) as file:
        assert file["y"][:].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
        assert file["y"].attrs["long_name"] == "centre in map cells"


def test_every_value_has_a_checksum_and_maps_are_chunks_of_one(merged: Path) -> None:
    with h5py.File(merged) as file:
        assert file["attribution"].chunks == (1, 1, 7, 7)
        assert file["attribution"].compression is None
        assert np.isnan(file["attribution"].fillvalue)
        scales = {"image", "channel", "y", "x", "corner", "side"} | {n for n in file if n.startswith("string")}
        assert all(file[n].fletcher32 for n in file if n not in scales)


def test_maps_are_indexed_like_an_array(merged: Path) -> None:
    with MapFile(merged) as file:
        maps, whole = file.attribution, np.asarray(file.attribution)
        assert maps.shape == whole.shape == (3, 1, 7, 7)
        chosen = np.array([True, False, True])
        for index in (0, -1, slice(1, None), slice(None, None, -1), [2, 0, 2], [], chosen, (2, 0), (..., 3), ...):
            np.testing.assert_array_equal(maps[index], whole[index])
            assert maps[index].dtype == np.float32
        with pytest.raises(IndexError):
            maps[3]
        assert repr(maps) == "Maps(shape (3, 1, 7, 7), maps-all.h5)"


# --- files of strangers -----------------------------------------------------------------------------------------------


def _soft_link(file: h5py.File) -> None:
    del file["score"]
    file["score"] = h5py.SoftLink("/probability")


def _external_link(file: h5py.File) -> None:
    del file["score"]
    file["score"] = h5py.ExternalLink("secret.h5", "/score")


def _external_storage(file: h5py.File) -> None:
    del file["score"]
    file.create_dataset("score", (3,), "<f4", external=[("secret.bin", 0, 12)])


def _virtual(file: h5py.File) -> None:
    del file["score"]
    layout = h5py.VirtualLayout((3,), "<f4")
    layout[:] = h5py.VirtualSource("secret.h5", "score", (3,))
    file.create_virtual_dataset("score", layout)


def _objects(file: h5py.File) -> None:
    del file["reason"]
    file.create_dataset("reason", data=["a", "b", "c"], dtype=h5py.string_dtype())


def _references(file: h5py.File) -> None:
    file.create_dataset("extra", data=[file["score"].ref], dtype=h5py.ref_dtype)


def _group(file: h5py.File) -> None:
    file.create_group("extra")


def _group_for_maps(file: h5py.File) -> None:
    del file["attribution"]
    file.create_group("attribution")


def _huge(file: h5py.File) -> None:
    del file["attribution"]
    file.create_dataset("attribution", (1 << 20, 3, 1024, 1024), "<f4", chunks=(1, 3, 1024, 1024))


def _huge_deflated(file: h5py.File) -> None:
    del file["attribution"]
    shape = (1 << 20, 3, 1024, 1024)
    file.create_dataset("attribution", shape, "<f4", chunks=(1, *shape[1:]), compression="gzip")


def _huge_other(file: h5py.File) -> None:
    file.create_dataset("extra", (1 << 40,), "i1", chunks=(1 << 20,))


def _foreign_filter(file: h5py.File) -> None:
    del file["score"]
    file.create_dataset("score", data=np.zeros(3, "<f4"), compression="lzf")


def _zfp(file: h5py.File) -> None:
    del file["score"]
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((3,))
    settings.set_filter(32013, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
    h5py.h5d.create(file.id, b"score", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3,)), settings)


def _huge_chunks(file: h5py.File) -> None:
    del file["score"]
    file.create_dataset("score", (3,), "<f4", chunks=(1 << 28,), maxshape=(None,))


def _newer(file: h5py.File) -> None:
    file.attrs["schema"] = "xai-maps/2"


def _older(file: h5py.File) -> None:
    file.attrs["schema"] = "xai-maps/0"


def _strange_schema(file: h5py.File) -> None:
    file.attrs["schema"] = np.arange(3)


def _text_list(file: h5py.File) -> None:
    file.attrs["note"] = ["a", "b"]


def _no_cell(file: h5py.File) -> None:
    del file.attrs["cell"], file.attrs["identity"]


def _no_schema(file: h5py.File) -> None:
    del file.attrs["schema"]


def _lacking(file: h5py.File) -> None:
    del file["score"], file["view"]


def _other_type(file: h5py.File) -> None:
    del file["score"]
    file["score"] = np.zeros(3)


def _other_length(file: h5py.File) -> None:
    del file["reason"]
    file["reason"] = np.zeros((2, 4), "S1")


def _other_maps(file: h5py.File) -> None:
    del file["attribution"]
    file["attribution"] = np.zeros((3, 7, 7), "<f4")


def _strange_status(file: h5py.File) -> None:
    file["status"][1] = 77


def _negative_size(file: h5py.File) -> None:
    file["image_size"][1] = -1, 5


def _giant_input(file: h5py.File) -> None:
    file["input_size"][1] = 1 << 20, 1 << 20


def _endless_view(file: h5py.File) -> None:
    file["view"][2] = 0, 0, np.inf, 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_soft_link, "'score' is a link; refused"),
        (_external_link, "'score' is a link; refused"),
        (_external_storage, "keeps its values outside the file"),
        (_virtual, "keeps its values outside the file"),
        (_objects, "'reason' holds object; refused"),
        (_references, "'extra' holds object; refused"),
        (_group, "'extra' is no variable"),
        (_group_for_maps, "'attribution' is no variable"),
        (_huge, "'attribution' claims 13194139533312 bytes, the file has"),
        (_huge_deflated, "'attribution' claims 13194139533312 bytes, the file has"),
        (_huge_other, "'extra' claims 1099511627776 bytes"),
        (_foreign_filter, "'score' is stored with filter lzf, this version reads none but gzip"),
        (_zfp, "is stored with filter zfp, this version reads none but gzip; where that filter is installed (in"),
        (_huge_chunks, "'score' claims 1073741824 bytes"),
        (_newer, "has schema 'xai-maps/2'; this version reads 'xai-maps/1'; install a newer xai-framework"),
        (_older, "has schema 'xai-maps/0'; this version reads 'xai-maps/1'; run again"),
        (_strange_schema, "has schema '[0 1 2]'"),
        (_text_list, "attribute 'note' is a list of objects; refused"),
        (_no_cell, "lacks the attributes cell, identity"),
        (_no_schema, "is no result file"),
        (_lacking, "lacks score, view"),
        (_other_type, "'score' is float64"),
        (_other_length, "expected characters of 3 rows"),
        (_other_maps, "'attribution' is float32"),
        (_strange_status, "'status' holds values that mean nothing"),
        (_negative_size, "'image_size' holds values that mean nothing"),
        (_giant_input, "'input_size' holds values that mean nothing"),
        (_endless_view, "'view' holds values that mean nothing"),
    ],
)
def test_what_is_not_ours_is_refused(merged: Path, change: object, message: str) -> None:
    (merged.parent / "secret.bin").write_bytes(b"secretsecret")
    with h5py.File(merged, "r+") as file:
        change(file)
    with pytest.raises(StoreError) as caught, MapFile(merged) as file:
        file.row(1)
    assert message in str(caught.value)
    assert str(merged) in str(caught.value)


def test_a_giant_attribute_is_refused(tmp_path: Path) -> None:
    """Only files of HDF5's newest form can have one."""
    path = tmp_path / "a.h5"
    sound = io.BytesIO(Moulds().cast(make_block([0]), {"cell": "", "identity": ""}))
    with h5py.File(sound) as old, h5py.File(path, "w", libver="latest") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(dict(old.attrs))
        new.attrs["note"] = np.zeros(1 << 25, "i1")
    with pytest.raises(StoreError, match="attribute 'note' claims 33554432 bytes; refused"):
        MapFile(path)


def _made_with(**how: str) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **how) as file:
        file["a"] = 1
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"<html>404</html>" * 99, "is no HDF5 file"),
        (_made_with()[:-100], "is truncated"),
        (_made_with(), "is no result file"),
    ],
)
def test_what_is_no_result_file_is_told_apart(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(data)
    with pytest.raises(StoreError, match=message):
        MapFile(path)
    with pytest.raises(StoreError, match=message):
        open_run(path)


def test_a_file_that_a_crash_left_open_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    code = "import h5py, os, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); f['a'] = 1; f.flush(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    with pytest.raises(StoreError, match="left open by a program that crashed"):
        MapFile(path)


def test_a_repacked_file_is_read(merged: Path) -> None:
    with h5py.File(merged, "r+") as file:
        values = file["attribution"][...]
        del file["attribution"]
        file.create_dataset("attribution", data=values, chunks=(1, 1, 7, 7), compression="gzip", shuffle=True)
    with MapFile(merged) as file:
        np.testing.assert_array_equal(file.attribution, values)


# --- runs -------------------------------------------------------------------------------------------------------------


def _study(outputs: Path, labels: dict[str, int], study: str = "demo", **facts: object) -> Path:
    """A run whose cells differ by a number."""
    details = {"backbone": "vgg16", "target": "predicted", "dataset": {"name": "shapes"}, **facts}
    cells = []
    for label, number in labels.items():
        cell = Store(outputs / "store").cell("vgg16", label, {"number": number, **facts})
        write(cell, [0, 1])
        path = cell.merge(keys([0, 1]), "all")
        cells.append({"label": label, "id": cell.id, "file": str(path.relative_to(outputs)), **details})
    folder = outputs / "runs" / study
    write_run(folder, {"study": study, "command": "xai run", "config_yaml": "a: 1\n", "cells": cells})
    return folder


def test_a_run_is_opened_by_folder_record_or_file(tmp_path: Path) -> None:
    folder = _study(tmp_path, {"gradcam": 1, "gradient": 2})
    for path in (folder, str(folder / "run.json")):
        run = open_run(path)
        assert list(run) == ["gradcam", "gradient"]
        assert run.ids == (key(0)[0], key(1)[0])
        assert repr(run) == "Run('demo': gradcam, gradient)"
        assert run.record["config_yaml"] == "a: 1\n"
    maps = run["gradcam"]
    assert maps.shape == (2, 1, 7, 7)
    assert len(maps) == 2
    np.testing.assert_array_equal(maps[1], map_of(1, (1, 7, 7)))
    np.testing.assert_array_equal(np.asarray(maps), np.stack(list(maps)))
    assert maps.row(1).target == 1
    assert repr(maps) == "StoredMaps('gradcam' on 'vgg16', shape (2, 1, 7, 7))"
    single = open_run(maps.path)
    assert list(single) == ["gradcam"]
    np.testing.assert_array_equal(single["gradcam"][:], maps[:])


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    run = open_run(_study(tmp_path, {"gradcam": 1}))
    shutil.rmtree(tmp_path / "store")
    assert list(run) == ["gradcam"]
    with pytest.raises(StoreError, match="no such file"):
        run["gradcam"][0]


def test_a_wrong_name_gets_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no method 'grad-cam'.*did you mean 'gradcam'"):
        open_run(_study(tmp_path, {"gradcam": 1}))["grad-cam"]


def test_two_runs_under_one_name_add_up(tmp_path: Path) -> None:
    _study(tmp_path, {"gradcam": 1, "gradient": 2})
    folder = _study(tmp_path, {"gradient": 2, "occlusion": 3})
    assert list(open_run(folder)) == ["gradcam", "gradient", "occlusion"]
    before = (folder / "run.json").stat()
    _study(tmp_path, {"gradient": 2, "occlusion": 3})
    assert (folder / "run.json").stat().st_ino == before.st_ino


def test_more_images_of_one_dataset_take_the_place_of_fewer(tmp_path: Path) -> None:
    old = {"label": "a", "id": "1", "file": "store/x/maps-1.h5", "dataset": {"name": "folder"}}
    other = {**old, "dataset": {"name": "shapes"}, "file": "store/x/maps-3.h5"}
    write_run(tmp_path / "runs" / "r", {"cells": [old, other]})
    united = write_run(tmp_path / "runs" / "r", {"cells": [{**old, "file": "store/x/maps-2.h5"}]})
    assert [c["file"] for c in united["cells"]] == ["store/x/maps-2.h5", "store/x/maps-3.h5"]
    assert read_run(tmp_path / "runs" / "r") == united


def test_same_labels_are_told_apart(tmp_path: Path) -> None:
    _study(tmp_path, {"gradcam": 1})
    folder = _study(tmp_path, {"gradcam": 1}, backbone="resnet50")
    run = open_run(folder)
    assert list(run) == ["gradcam @ vgg16, predicted", "gradcam @ resnet50, predicted"]
    assert [c.facts["backbone"] for c in run.select(label="gradcam", backbone="resnet50")] == ["resnet50"]
    assert len(open_run(_study(tmp_path, {"gradcam": 1}, dataset={"name": "other"}))) == 3


def test_outputs_can_be_moved(tmp_path: Path) -> None:
    _study(tmp_path / "outputs", {"gradcam": 1})
    shutil.move(tmp_path / "outputs", tmp_path / "elsewhere")
    assert open_run(tmp_path / "elsewhere" / "runs" / "demo")["gradcam"].shape == (2, 1, 7, 7)


@pytest.mark.parametrize("file", ["../../secret.h5", "/etc/passwd", "store/../../x.h5"])
def test_a_record_cannot_name_files_outside_the_outputs(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "runs" / "demo"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"cells": [{"label": "a", "id": "b", "file": file}]}))
    with pytest.raises(StoreError, match="outside the outputs folder"):
        open_run(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}', '{"cells": [{"label": "a"}]}', "[" * 100_000])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(StoreError, match=r"run\.json: is damaged"):
        open_run(tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(StoreError, match="no run is stored here"):
        open_run(tmp_path)


def test_to_xarray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(_study(tmp_path, {"gradcam": 1}))
    with run.to_xarray()["gradcam"] as data:
        np.testing.assert_array_equal(data.attribution.values, run["gradcam"][:])
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(StoreError, match=r"xarray is not installed; pip install \"xai-framework\[xarray\]\""):
        run.to_xarray()


# --- many writers -----------------------------------------------------------------------------------------------------


def _write_many(root: Path, blocks: list[list[int]]) -> None:
    cell = make_cell(root)
    for rows in blocks:
        write(cell, rows)
        cell.rows()
    write_run(root / "runs" / "r", {"cells": [{"label": str(blocks[0]), "id": "1", "file": "a.h5"}]})


def test_processes_write_one_cell_at_once(tmp_path: Path) -> None:
    """Three writers, of which two compute the same rows."""
    work = [[[i, i + 1] for i in range(start, start + 30, 2)] for start in (0, 30, 30)]
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path, blocks)) for blocks in work]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0, 0]
    cell = make_cell(tmp_path)
    assert set(cell.rows()) == set(keys(range(60)))
    assert len(cell.shard_files()) == 30
    assert cell.verify() == []
    merged = cell.merge(keys(range(60)), "all").read_bytes()
    whole = make_cell(tmp_path / "whole")
    write(whole, range(60))
    assert merged == whole.merge(keys(range(60)), "all").read_bytes()
    assert len(read_run(tmp_path / "runs" / "r")["cells"]) == 2


def test_the_store_needs_no_torch() -> None:
    code = "import sys, xai_framework.store; sys.exit('torch' in sys.modules or 'xarray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
