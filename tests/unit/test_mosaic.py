"""Mosaics: each cell shows its picture, and says whose it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from xai_plugins.datasets.folder import Folder
from xai_plugins.datasets.mosaic import Mosaic
from xai_plugins.datasets.shapes import Shapes

from xai_framework.cli.main import main
from xai_framework.core import ConfigError

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (90, 90, 90), "white": (255,) * 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i, size in enumerate([(40, 30), (30, 50)]):
            Image.new("RGB", size, colour).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("side", [2])
def test_every_cell_is_one_picture_of_the_class_it_says(folder: Path, side: int) -> None:
    dataset = Mosaic(of=Folder(path=str(folder), classes=True), images=12, side=side, cell=20)
    labels = []
    for index, row in enumerate(dataset.rows()):
        item = dataset[index]
        assert (item.id, item.label) == (row.id, row.label)
        pixels = np.asarray(item.image)
        assert pixels.shape == (40, 40, 3)
        assert len({r.label for r in item.truth}) == side**2
        covered = np.zeros((40, 40), dtype=int)
        for region in item.truth:
            assert region.box is not None
            x0, y0, x1, y1 = (int(v) for v in region.box)
            assert (pixels[y0:y1, x0:x1] == COLOURS[str(region.label)]).all()
            covered[y0:y1, x0:x1] += 1
        assert (covered == 1).all()
        assert item.label in {r.label for r in item.truth}
        labels.append([r.label for r in item.truth].index(item.label))
    assert len(set(labels)) > 1  # the explained cell is not always in the same place


def test_they_are_the_same_every_time_and_others_with_another_seed() -> None:
    one, same, other = (Mosaic(of=Shapes(images=40), images=3, cell=32, seed=s) for s in (0, 0, 1))
    assert list(one.rows()) == list(same.rows())
    assert {r.content for r in one.rows()}.isdisjoint(r.content for r in other.rows())
    assert np.array_equal(np.asarray(one[2].image), np.asarray(same[2].image))
    assert [r.content for r in Mosaic(of=Shapes(images=40), images=5, cell=32).rows()][:3] == [
        r.content for r in one.rows()
    ]


def test_too_few_classes_are_explained(folder: Path) -> None:
    with pytest.raises(ConfigError, match="pictures of 5 classes; 3 x 3 cells take 9"):
        list(Mosaic(of=Folder(path=str(folder), classes=True), side=3).rows())
    with pytest.raises(ConfigError, match="pictures of 0 classes"):
        list(Mosaic(of=Folder(path=str(folder))).rows())


def test_a_study_of_mosaics_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dataset=mosaic", "dataset.images=3", "dataset.cell=48", "dataset.of.images=40", "target=label"]
    words += ["method=[gradcam]", "metric=[grid_pointing_game]", "report=false", f"outputs={tmp_path}"]
    assert main(["run", *words]) == 0, capsys.readouterr().err
    assert main(["table", str(tmp_path / "runs" / "default")]) == 0
    assert "grid_pointing_game" in capsys.readouterr().out
