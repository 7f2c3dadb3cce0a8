"""Does a map change when the weights are drawn anew? ``python -m benchmarks.randomisation --write``.

Spearman's correlation between the map (sizes of values, channels added) on the trained network and on the same network
with new random weights, for the trained network's prediction; the mean over pictures with one shape, shapes_vgg. A
method whose maps hardly change shows the picture rather than what was learnt (Adebayo et al. 2018, arXiv:1810.03292).
``--write`` keeps the figures in docs/randomisation.json, from which docs/methods.md takes them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor
from xai_plugins.datasets.shapes import Shapes
from xai_plugins.targets.rank import Predicted

from benchmarks.localisation import methods
from xai_framework.core import ModelAdapter, NotApplicable
from xai_framework.probe import SharedProbe
from xai_framework.registry import Registry
from xai_framework.rng import NamedRng
from xai_framework.untrained import untrained

FILE = Path(__file__).parents[1] / "docs" / "randomisation.json"


def spearman(a: Tensor, b: Tensor) -> float:
    """Of two maps (C,h,w); ties share the mean of their ranks."""
    ranks = []
    for t in (a, b):
        _, places, counts = t.abs().sum(0).flatten().unique(return_inverse=True, return_counts=True)
        ends = counts.cumsum(0).double()
        ranks.append((ends - (counts - 1) / 2)[places])
    x, y = (r - r.mean() for r in ranks)
    size = x.norm() * y.norm()
    return float(x @ y / size) if size > 0 else float("nan")


def main() -> None:
    """Print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(2)
    registry = Registry()
    adapter = registry.build("backbone", {"name": "shapes_vgg"})
    assert isinstance(adapter, ModelAdapter)
    probes = [SharedProbe(a, Predicted(), chunk=16) for a in (adapter, untrained(adapter, 0))]
    items = [Shapes(images=args.images)[i] for i in range(args.images)]
    inputs = [adapter.prepare(item.image).inputs[None] for item in items]
    found: dict[str, float | None] = {}
    for name, method in methods(registry, 96).items():
        values = []
        for item, x in zip(items, inputs, strict=True):
            rows = probes[0].outputs(x).argmax(1)
            try:
                maps = [method.explain(p, x, rows, NamedRng.of(0, [item.id]))[0] for p in probes]
            except NotApplicable:
                break
            values.append(spearman(*maps))
        known = [v for v in values if v == v]
        found[name] = round(sum(known) / len(known), 2) if known else None
        print(f"{name:24} {found[name]}", flush=True)
    if args.write:
        FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
