"""Real weights on real photographs: predictions as published, maps where the animals are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from xai_plugins.backbones.torchvision import Torchvision

import xai_framework as xai
from xai_framework.core import Geometry, Prepared, open_image, resize
from xai_framework.core.params import File
from xai_framework.registry import Registry

ROOT = Path(__file__).parents[2]


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text("utf-8").splitlines()))


def squeezenet(real_data: Path, version: str = "0") -> Torchvision:
    return Torchvision(
        arch=f"squeezenet1_{version}", file=File(str(real_data / f"weights/squeezenet1_{version}_imagenet_fp16.pt"))
    )


def prepare(backbone: Torchvision, file: Path) -> Prepared:
    return backbone.prepare(open_image(file))


@pytest.mark.parametrize(("version", "column"), [("0", "sq10_top5"), ("1", "sq11_top5")])
def test_top_five_of_all_photographs(real_data: Path, version: str, column: str) -> None:
    backbone = squeezenet(real_data, version)
    table = rows(real_data / "labels.csv")
    agreeing = 0
    for line in table:
        inputs = prepare(backbone, real_data / line["file"]).inputs[None]
        with torch.no_grad():
            probabilities = backbone.forward(inputs).softmax(1)[0]
        expected = [pair.split(":") for pair in line[column].replace(";", " ").replace("|", " ").split()]
        best = probabilities.topk(5).indices.tolist()
        agreeing += best == [int(i) for i, _ in expected]
        np.testing.assert_allclose([probabilities[i] for i in best], [float(p) for _, p in expected], atol=5.1e-4)
    assert agreeing == len(table) == 77


def test_grad_cam_of_dog_and_cat_lies_on_dog_and_cat(real_data: Path) -> None:
    boxes = {}
    for line in rows(real_data / "boxes.csv"):
        if line["file"].endswith("dog_cat.png"):
            boxes[line["category"]] = tuple(float(line[k]) for k in ("x0", "y0", "x1", "y1"))
    dog, cat = boxes["dog"], boxes["cat"]
    backbone = squeezenet(real_data)
    picture = real_data / "images/misc/dog_cat.png"
    geometry = prepare(backbone, picture).geometry
    for target, own, other in ((243, dog, cat), (282, cat, dog)):
        result = xai.explain(picture, methods=["gradcam"], backbone=backbone, target=target)
        cam = resize(result["gradcam"].astype(np.float64), geometry.input_size)[0]
        mine, theirs = (inside(geometry, box, cam.shape) for box in (own, other))
        overlap = mine & theirs
        assert cam[mine & ~overlap].sum() > cam[theirs & ~overlap].sum()


def inside(geometry: Geometry, box: tuple[float, ...], shape: tuple[int, ...]) -> np.ndarray:
    x0, y0, x1, y1 = (round(v) for v in geometry.box_to_input(box))  # type: ignore[union-attr, arg-type]
    found = np.zeros(shape, dtype=bool)
    found[y0:y1, x0:x1] = True
    return found


@pytest.mark.slow
def test_all_methods_on_all_photographs_stored_and_paged(real_data: Path, tmp_path: Path) -> None:
    from xai_framework.cli.main import main

    code = main(
        [
            "run",
            "backbone=torchvision",
            "backbone.arch=squeezenet1_0",
            f"backbone.file={real_data}/weights/squeezenet1_0_imagenet_fp16.pt",
            "dataset=manifest",
            f"dataset.path={real_data}/labels.csv",
            f"dataset.root={real_data}",
            "dataset.column_path=file",
            "dataset.column_label=imagenet_index",
            "method.smoothgrad.samples=4",
            "method.occlusion.window=64",
            "method.occlusion.stride=64",
            f"outputs={tmp_path}",
            "study=photographs",
        ]
    )
    assert code == 0
    run = xai.open_run(tmp_path / "runs" / "photographs")
    assert {len(maps) for maps in run.values()} == {77}
    assert {maps.row(i).status.name for maps in run.values() for i in range(77)} <= {"ok"}
    assert (tmp_path / "runs" / "photographs" / "index.html").stat().st_size > 100_000


@pytest.mark.parametrize("depth", [20, 56])
def test_a_checkpoint_of_ones_own_architecture(real_data: Path, depth: int) -> None:
    registry = Registry([ROOT / "docs" / "examples" / "cifar_resnet.py"])
    weights = str(real_data / f"weights/cifar10_resnet{depth}_fp16.pt")
    backbone = registry.build("backbone", {"name": "cifar_resnet", "depth": depth, "weights": weights})
    lines = [line for line in rows(real_data / "cifar10_labels.csv") if "cifar10_png" in line["file"]]
    result = xai.explain([real_data / line["file"] for line in lines], ["gradient", "gradcam"], backbone=backbone)
    assert list(result.prediction) == [backbone.labels[int(line[f"resnet{depth}_pred"])] for line in lines]
    assert sum(p == line["name"] for p, line in zip(result.prediction, lines, strict=True)) >= 19
    assert result["gradcam"].shape == (20, 1, 8, 8)


def test_imagenet_names_are_what_the_index_says(real_data: Path) -> None:
    index = json.loads((real_data / "imagenet_class_index.json").read_text())
    labels = squeezenet(real_data).labels
    differing = [i for i in range(1000) if labels[i] != index[str(i)][1].replace("_", " ")]
    assert differing == [134, 639]  # crane (bird), maillot (tank suit)
