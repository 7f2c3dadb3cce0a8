"""Does each method's peak lie on what it explains? ``python -m benchmarks.localisation``.

Pictures with four shapes, each shape's class explained in turn by shapes_vgg (the truth is the shape's mask), and with
``--data FOLDER`` a photograph of a dog and a cat, classes 243 and 282, by SqueezeNet 1.1 (the truth is the box, without
what both share). A peak is the largest value of the map enlarged to the input: of summed channels for maps in units of
the score, of the largest absolute channel for gradients.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xai_plugins.datasets.shapes import Shapes
from xai_plugins.targets.index import Index

from xai_framework.core import Explainer, ModelAdapter, NotApplicable, open_image, reduce_channels, resize
from xai_framework.probe import SharedProbe
from xai_framework.registry import Registry
from xai_framework.rng import NamedRng

CHEAPER: dict[str, dict[str, object]] = {
    "rise": {"masks": 1000},
    "lime": {"samples": 300},
    "kernel_shap": {"samples": 400},
    "extremal_perturbation": {"steps": 100},
    "expected_gradients": {"samples": 32},
}
SLOPES = {"gradient", "smoothgrad", "smoothgrad_squared", "vargrad", "guided_backprop", "deconvnet", "guided_gradcam"}
Mask = NDArray[np.bool_]
Case = tuple[str, Tensor, int, Mask]
"""Picture, input, class, where the peak should lie."""


def methods(registry: Registry, size: int) -> dict[str, Explainer]:
    """Every method at its defaults, a few of them cheaper; windows follow the size of the input."""
    windows = {"occlusion": {"window": size // 6, "stride": size // 12}, "blur_ig": {"sigma": size / 5}}
    found = {}
    for name in registry.names("method"):
        made = registry.build("method", {"name": name, **CHEAPER.get(name, {}), **windows.get(name, {})})
        assert isinstance(made, Explainer)
        found[name] = made
    return found


def peak(name: str, maps: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    """(C,h,w) -> row and column of the largest value on the input's grid."""
    one = reduce_channels(maps[None], "max_abs" if name in SLOPES and len(maps) > 1 else "sum")
    large = resize(one.double(), size)[0, 0]
    row, column = divmod(int(large.argmax()), size[1])
    return row, column


def hits(adapter: ModelAdapter, name: str, method: Explainer, cases: list[Case]) -> int:
    """How often the peak lies in the mask; a map that shows nothing has none."""
    inside = 0
    probe = SharedProbe(adapter, Index(index=(0,)), chunk=16)
    for id_, x, target, mask in cases:
        maps = method.explain(probe, x[None], torch.tensor([target]), NamedRng.of(0, [id_]))[0]
        if maps.any():
            inside += bool(mask[peak(name, maps, (x.shape[1], x.shape[2]))])
    return inside


def shapes_cases(adapter: ModelAdapter, images: int) -> list[Case]:
    """Every shape of every picture."""
    dataset = Shapes(images=images, objects=4)
    cases = []
    for item in (dataset[i] for i in range(images)):
        inputs = adapter.prepare(item.image).inputs
        for region in item.truth:
            cases.append((item.id, inputs, adapter.labels.index(region.label), np.asarray(region.mask)))
    return cases


def dog_and_cat(registry: Registry, data: Path) -> tuple[ModelAdapter, list[Case]]:
    """SqueezeNet and the photograph with both."""
    weights = next((data / "weights").rglob("squeezenet1_1*"))
    config = {"name": "torchvision", "arch": "squeezenet1_1", "file": str(weights)}
    adapter = registry.build("backbone", config)
    assert isinstance(adapter, ModelAdapter)
    prepared = adapter.prepare(open_image(data / "images/misc/dog_cat.png"))
    with (data / "boxes.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["file"].endswith("dog_cat.png")]
    masks = {}
    for line in lines:
        box = prepared.geometry.box_to_input(tuple(float(line[k]) for k in ("x0", "y0", "x1", "y1")))  # type: ignore[arg-type]
        mask = np.zeros(prepared.inputs.shape[1:], dtype=bool)
        if box is not None:
            x0, y0, x1, y1 = (round(v) for v in box)
            mask[y0:y1, x0:x1] = True
        masks[line["category"]] = mask
    dog, cat = masks["dog"], masks["cat"]
    return adapter, [("dog_cat", prepared.inputs, 243, dog & ~cat), ("dog_cat", prepared.inputs, 282, cat & ~dog)]


def main() -> None:
    """Print a table, best first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=10, help="pictures of four shapes")
    parser.add_argument("--data", type=Path, help="folder with the photograph, its boxes and SqueezeNet's weights")
    parser.add_argument("--methods", nargs="*", help="only these")
    args = parser.parse_args()
    torch.set_num_threads(2)
    registry = Registry()
    shapes = registry.build("backbone", {"name": "shapes_vgg"})
    assert isinstance(shapes, ModelAdapter)
    cases = shapes_cases(shapes, args.images)
    photo = dog_and_cat(registry, args.data) if args.data else None
    rows = []
    for name in args.methods or registry.names("method"):
        start = time.monotonic()
        try:
            inside = hits(shapes, name, methods(registry, 96)[name], cases)
            own = hits(photo[0], name, methods(registry, 224)[name], photo[1]) if photo else 0
        except NotApplicable as reason:
            rows.append((-1.0, f"| {name} | not applicable | | {reason} |"))
            continue
        on_photo = f"{own} of 2" if photo else ""
        seconds = time.monotonic() - start
        line = f"| {name} | {inside} of {len(cases)} | {on_photo} | {seconds:.0f} s |"
        rows.append((inside / len(cases), line))
        print(rows[-1][1], flush=True)
    covered = float(np.mean([mask.mean() for *_, mask in cases]))
    print(f"\n{len(cases)} shapes, each covering {covered:.1%} of its picture on average\n")
    print("| method | peak in the shape's own mask | in the animal's own box | time |\n|---|---|---|---|")
    print("\n".join(line for _, line in sorted(rows, reverse=True)))


if __name__ == "__main__":
    main()
