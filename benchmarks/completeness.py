"""How far integrated gradients are from complete, by number of steps: ``python -m benchmarks.completeness``.

The gap is |sum of the map - (S(x) - S(baseline))| as a share of |S(x) - S(baseline)|, the median over pictures with one
shape, float64, the baseline being what normalisation maps to 0.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from xai_plugins.datasets.shapes import Shapes
from xai_plugins.methods.integrated_gradients import IntegratedGradients
from xai_plugins.targets.rank import Predicted

from xai_framework.core import ModelAdapter
from xai_framework.probe import SharedProbe
from xai_framework.registry import Registry
from xai_framework.rng import NamedRng
from xai_framework.space import in_precision

SUMS = ("gauss_legendre", "midpoint", "trapezoid", "left", "right")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backbone", default="shapes_vgg")
    parser.add_argument("--images", type=int, default=4)
    args = parser.parse_args()
    adapter = Registry().build("backbone", {"name": args.backbone})
    assert isinstance(adapter, ModelAdapter)
    adapter = in_precision(adapter, "float64")
    items = [Shapes(images=args.images)[i] for i in range(args.images)]
    x = torch.stack([adapter.prepare(i.image).inputs for i in items]).double()
    probe = SharedProbe(adapter, Predicted())
    targets = probe.outputs(x).argmax(1)
    change = (probe.score(x, targets) - probe.score(torch.zeros_like(x), targets)).abs()
    print("steps  " + "  ".join(f"{name:>14}" for name in SUMS))
    for steps in (4, 8, 16, 32, 64, 128):
        gaps = []
        for name in SUMS:
            method = IntegratedGradients(steps=steps, sum=name)  # type: ignore[arg-type]
            gap = method.completeness_gap(probe, x, targets, NamedRng.of(0, [i.id for i in items])).abs() / change
            gaps.append(statistics.median(gap.tolist()))
        print(f"{steps:5}  " + "  ".join(f"{g:14.1e}" for g in gaps), flush=True)


if __name__ == "__main__":
    main()
