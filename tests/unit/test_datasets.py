"""Datasets: rows that identify, labels and truth that arrive, mistakes that are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from xai_plugins.datasets._drawing import draw
from xai_plugins.datasets.arrays import Arrays
from xai_plugins.datasets.files import Files
from xai_plugins.datasets.folder import Folder
from xai_plugins.datasets.manifest import Manifest
from xai_plugins.datasets.shapes import Shapes

from xai_framework.core import ConfigError, Dataset, File, ImageError
from xai_framework.manifest import manifest_of


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i, name in enumerate(["b/2.png", "a/1.png", "a/3.jpg"]):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (i * 50, 0, 0)).save(file)
    (tmp_path / "photos/notes.txt").write_text("x")
    (tmp_path / "photos/.hidden.png").write_bytes(b"x")
    return tmp_path / "photos"


def test_folder_is_sorted_and_names_classes(photos: Path) -> None:
    dataset = Folder(path=str(photos), classes=True)
    assert [r.id for r in dataset.rows()] == ["a/1.png", "a/3.jpg", "b/2.png"]
    assert [dataset[i].label for i in range(3)] == ["a", "a", "b"]
    assert [Folder(path=str(photos))[0].label, len(Folder(path=str(photos), limit=2))] == [None, 2]


def test_folder_does_not_follow_links_out(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (photos / "link.png").symlink_to(tmp_path / "secret.png")
    (photos / "loop").symlink_to(photos)
    assert "link.png" not in [r.id for r in Folder(path=str(photos)).rows()]


def test_folder_mistakes(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'photos'"):
        len(Folder(path=str(tmp_path / "photo")))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/a.txt").write_text("")
    with pytest.raises(ConfigError, match=r"no pictures \(1 \.txt\)"):
        len(Folder(path=str(tmp_path / "empty")))


def test_a_changed_file_is_another_row_and_is_noticed(photos: Path, tmp_path: Path) -> None:
    first = manifest_of(Folder(path=str(photos)), "x", tmp_path / "kept")
    again = manifest_of(Folder(path=str(photos)), "x", tmp_path / "kept")
    assert first == again
    Image.new("RGB", (20, 10), "blue").save(photos / "a/1.png")
    after = manifest_of(Folder(path=str(photos)), "x", tmp_path / "kept")
    assert [a.content == b.content for a, b in zip(first.rows, after.rows, strict=True)] == [False, True, True]


def test_an_unreadable_file_has_a_row_with_its_reason(photos: Path) -> None:
    dataset = Files(paths=(str(photos / "a/1.png"), str(photos / "b/*.png")))
    assert len(dataset) == 2
    (photos / "b/2.png").unlink()
    rows = list(dataset.rows())
    assert rows[0].reason == ""
    assert "cannot be read" in rows[1].reason
    with pytest.raises(ConfigError, match="no such file"):
        len(Files(paths=("nowhere.png",)))
    with pytest.raises(ConfigError, match="no file matches"):
        len(Files(paths=(str(photos / "*.gif"),)))


def table(folder: Path, text: str, name: str = "table.csv") -> Manifest:
    (folder / name).write_bytes(text.encode())
    return Manifest(path=File(str(folder / name)))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_manifest_reads_what_spreadsheets_write(delimiter: str, end: str, bom: str, photos: Path) -> None:
    lines = [["id", "path", "label", "x0", "y0", "x1", "y1"], ["one", "a/1.png", "7", "1", "2", "5", "6"]]
    lines += [["two", "b/2.png", "tiger cat", "", "", "", ""]]
    dataset = table(photos, bom + end.join(delimiter.join(line) for line in lines) + end)
    assert [r.id for r in dataset.rows()] == ["one", "two"]
    assert [dataset[0].label, dataset[1].label] == [7, "tiger cat"]
    assert [dataset[0].truth[0].box, dataset[1].truth] == [(1.0, 2.0, 5.0, 6.0), ()]


def test_manifest_json_with_boxes_and_mask(photos: Path) -> None:
    mask = np.zeros((10, 20), np.uint8)
    mask[2:5, 3:9] = 255
    Image.fromarray(mask).save(photos / "mask.png")
    lines = {"path": "a/1.png", "label": 3, "boxes": [[0, 0, 4, 4], [5, 5, 9, 9, "dog"]], "mask": "mask.png"}
    item = table(photos, json.dumps(lines) + "\n\n", "t.jsonl")[0]
    assert [(r.label, r.box) for r in item.truth[:2]] == [(3, (0, 0, 4, 4)), ("dog", (5, 5, 9, 9))]
    assert np.array_equal(item.truth[2].mask, mask > 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\na/1.png\n", "no column 'path'; (available: file)"),
        ("path\na/1.png\na/1.png\n", "stands on lines 2 and 3"),
        ("path\n../../secret.png\n", "lies outside"),
        ("path,x0,y0,x1,y1\na/1.png,5,5,2,9\n", "empty or not finite"),
        ("path,x0,y0,x1,y1\na/1.png,nan,5,9,9\n", "empty or not finite"),
        ("path,boxes\na/1.png,oops\n", "no JSON list"),
        ("path\n", "lists no pictures"),
        ("path\na\0b\n", "NUL"),
    ],
)
def test_manifest_mistakes_name_file_and_line(text: str, said: str, photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        len(table(photos, text))
    assert said in str(caught.value)
    assert "table.csv" in str(caught.value)


def test_a_box_beyond_the_picture_fails_that_picture(photos: Path) -> None:
    dataset = table(photos, "path,x0,y0,x1,y1\na/1.png,0,0,50,5\nb/2.png,0,0,5,5\n")
    with pytest.raises(ImageError, match="reaches beyond 20x10"):
        dataset[0]
    assert dataset[1].truth


def arrays(folder: Path, **held: object) -> Arrays:
    np.savez(folder / "images.npz", **held)  # type: ignore[arg-type]
    return Arrays(path=File(str(folder / "images.npz")))


def test_arrays_of_any_layout_in_memory(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((3, 8, 6, 3))
    dataset = arrays(
        tmp_path, images=images.astype(">f8")[:, ::-1], labels=np.array([1, 2, 3]), ids=np.array(list("abc"))
    )
    item = dataset[1]
    assert (item.id, item.label, item.image.dtype) == ("b", 2, np.float32)
    np.testing.assert_allclose(item.image, images[1, ::-1], rtol=1e-6)
    assert len({r.content for r in dataset.rows()}) == 3


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"pictures": np.zeros((1, 4, 4))}, "no array 'images'"),
        ({"images": np.zeros((4, 4))}, "expected (N,H,W)"),
        ({"images": np.zeros((2, 3, 32, 32))}, "channels come last"),
        ({"images": np.zeros((2, 4, 4), np.int64)}, "expected uint8 or float"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.zeros(3)}, "3 entries for 2 images"),
        ({"images": np.array([object()])}, "plain arrays"),
    ],
)
def test_array_mistakes(held: dict[str, np.ndarray], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        len(arrays(tmp_path, **held))
    assert said in str(caught.value)


def test_one_bad_array_fails_alone(tmp_path: Path) -> None:
    images = np.zeros((2, 4, 4, 3))
    images[0, 0, 0, 0] = np.nan
    dataset = arrays(tmp_path, images=images)
    with pytest.raises(ImageError, match="NaN"):
        dataset[0]
    assert dataset[1].id == "1"


def test_shapes_are_a_function_of_seed_and_number() -> None:
    few, many = Shapes(images=3, seed=5), Shapes(images=9, seed=5)
    assert list(few.rows()) == list(many.rows())[:3]
    assert np.array_equal(few[2].image, many[2].image)
    assert not np.array_equal(few[2].image, Shapes(images=3, seed=6)[2].image)
    labels = [Shapes(images=400)[i].label for i in range(400)]
    assert min(labels.count(c) for c in set(labels)) > 25
    assert len(set(labels)) == 8


def test_the_drawing_has_not_changed_without_its_version() -> None:
    """Names, labels and contents are stored by VERSION: another picture under an old version would be believed."""
    drawn = draw("golden", 96, 4)
    assert drawn.labels == (5, 0, 2, 3)
    assert [int(m.sum()) for m in drawn.masks] == [305, 824, 131, 187]
    np.testing.assert_allclose(drawn.pixels.reshape(-1, 3).mean(0), (78.62, 170.19, 114.65), atol=0.05)
    np.testing.assert_allclose(drawn.pixels[40, 40], (121, 142, 203), atol=1)


@pytest.mark.parametrize("objects", [1, 2, 4])
def test_shape_masks_are_exact(objects: int) -> None:
    item = Shapes(images=5, objects=objects, size=128)[4]  # type: ignore[arg-type]
    assert item.image.size == (128, 128)  # type: ignore[union-attr]
    assert len({r.label for r in item.truth}) == objects == len(item.truth)
    assert item.label == item.truth[0].label
    together = np.sum([r.mask for r in item.truth], 0)
    assert together.max() == 1  # shapes do not overlap
    for region in item.truth:
        ys, xs = np.nonzero(region.mask)
        assert region.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        inside = np.asarray(item.image)[region.mask].astype(float)
        assert inside.std(0).max() < 40  # one colour with a little noise: the mask holds the shape and nothing else
        assert 0.005 < region.mask.mean() < 0.25


def test_datasets_need_no_torch_to_be_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom xai_plugins.datasets import arrays, files, folder, manifest, shapes\n"
        "list(shapes.Shapes(images=2).rows())\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_duplicate_ids_are_refused() -> None:
    class Twice(Dataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
            return Shapes(images=1)[0]

    with pytest.raises(ConfigError, match="stands twice"):
        manifest_of(Twice(), "", None)
