"""Pixel flipping, ours against Quantus's, with equally many steps: SqueezeNet with random weights, 224 x 224 pixels.

``python -m benchmarks.removal``, with Quantus installed beside us (it is no dependency); without it, only our own time
and that of the bare forward passes of the network as it was built. Interleaved in one process on one thread; process
CPU time. Both make the same number of passes and spend nearly all their time there: what one can gain is the speed of
a pass, by another order of memory and another number of copies in it.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from xai_plugins.methods.gradient import Gradient
from xai_plugins.metrics.pixel_flipping import PixelFlipping
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Preprocess
from xai_framework.core.geometry import Geometry
from xai_framework.fast.ways import Ways
from xai_framework.judge import case_of
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng

SIZE = 224
CHUNK = 16
"""Rows in a pass, by the rule of a run for this network."""


def ours(
    adapter: ModuleAdapter,
    ways: Ways,
    x: torch.Tensor,
    targets: torch.Tensor,
    maps: torch.Tensor,
    metric: PixelFlipping,
) -> None:
    """Our value of each image, as a run computes it."""
    rng = NamedRng.of(0, [str(i) for i in range(len(x))])
    where = [Geometry((SIZE, SIZE), (SIZE, SIZE), (0.0, 0.0, float(SIZE), float(SIZE)))] * len(x)
    probe = SharedProbe(adapter, Predicted(), chunk=CHUNK, ways=ways)
    case = case_of(probe, Gradient(), x, targets, maps, [()] * len(x), where, rng)
    metric.measure(case)


def bare(model: torch.nn.Module, x: torch.Tensor, steps: int) -> None:
    """The passes alone."""
    with torch.no_grad():
        for picture in x:
            model(picture.expand(steps, -1, -1, -1).contiguous()).softmax(1)
        model(x)


def theirs(
    model: torch.nn.Module, x: torch.Tensor, targets: torch.Tensor, maps: torch.Tensor, steps: int
) -> Callable[[], object] | None:
    """Quantus's, if it is installed. It removes single values, three a pixel; a step's number divides 224 x 224."""
    try:
        import quantus
    except ImportError:
        return None
    metric = quantus.PixelFlipping(
        features_in_step=3 * SIZE * SIZE // steps, perturb_baseline="black", normalise=False, disable_warnings=True
    )
    return lambda: metric(
        model=model,
        x_batch=x.numpy(),
        y_batch=targets.numpy(),
        a_batch=maps.numpy(),
        device="cpu",
        softmax=True,
        batch_size=len(x),
        channel_first=True,
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds of CPU."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[12, 96], help="multiples of 3 that divide 3 x 224 x 224"
    )
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    import torchvision

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_1(weights=None).eval().requires_grad_(False)
    adapter = ModuleAdapter(model, Preprocess(crop=(SIZE, SIZE)))
    ways = Ways(adapter)
    x, maps = torch.randn(args.images, 3, SIZE, SIZE), torch.randn(args.images, 1, SIZE, SIZE)
    targets = model(x).argmax(1)
    for steps in args.steps:
        metric = PixelFlipping(steps=steps, patch=1, impute="black")
        quantus = theirs(model, x, targets, maps, steps)
        seconds: dict[str, list[float]] = {"bare passes": [], "ours": [], "Quantus": []}
        for _ in range(args.runs):
            seconds["bare passes"].append(timed(partial(bare, model, x, steps)))
            seconds["ours"].append(timed(partial(ours, adapter, ways, x, targets, maps, metric)))
            if quantus is not None:
                seconds["Quantus"].append(timed(quantus))
        print(f"{args.images} images, {steps} steps, one thread, {args.runs} interleaved runs, process CPU time")
        medians = {name: statistics.median(s) for name, s in seconds.items() if s}
        print(", ".join(f"{name} {m:.2f} s" for name, m in medians.items()))
        print(f"ours / bare passes {medians['ours'] / medians['bare passes']:.2f}")
        if quantus is not None:
            print(f"Quantus / ours {medians['Quantus'] / medians['ours']:.2f}")


if __name__ == "__main__":
    main()
