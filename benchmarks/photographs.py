"""What a study of many methods and metrics takes, against the model passes that it makes: SqueezeNet 1.1, photographs.

``python -m benchmarks.photographs --data FOLDER``: FOLDER holds ``labels.csv`` (columns file, imagenet_index, mask) and
``weights/squeezenet1_1_imagenet_fp16.pt``. Runs ``experiment=photographs`` in this process, on one thread, and counts
its passes. Every eighth pass of each kind and size, a bare pass of the same network with equally many images is timed:
that is the passes' own time, measured in the very run that it is compared with. Times are process CPU time, so that
other work on the machine counts for nobody; what the bare passes took is subtracted everywhere.

A second call computes nothing and prints the table again, from the notes that lie beside the stored maps.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch
from xai_plugins.backbones.torchvision import Torchvision

import xai_framework as xai
from xai_framework.cli.main import main as command
from xai_framework.core.params import File
from xai_framework.meter import Counts
from xai_framework.store import Cost
from xai_framework.store.cost import cost_of

WEIGHTS = "weights/squeezenet1_1_imagenet_fp16.pt"
EVERY = 8

Kind = tuple[str, int]
"""Forward or backward, and how many images."""


@dataclass
class Bare:
    """The passes of a network that nobody asks for anything else, timed among those of a run."""

    model: torch.nn.Module
    side: int = 224
    made: dict[Kind, int] = field(default_factory=lambda: defaultdict(int))
    timed: dict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    spent: float = 0.0

    def clock(self) -> float:
        """CPU seconds without those of the bare passes."""
        return time.process_time() - self.spent

    def beside(self, add: Callable[..., None]) -> Callable[..., None]:
        """``Counts.add`` that times a bare pass now and then."""

        def counted(counts: Counts, forward: int = 0, backward: int = 0) -> None:
            for kind in (("forward", forward), ("backward", backward)):
                if kind[1]:
                    if self.made[kind] % EVERY == 0:
                        self.time(kind)
                    self.made[kind] += 1
            add(counts, forward, backward)

        return counted

    def time(self, kind: Kind) -> None:
        """One more."""
        before = time.process_time()
        what, images = kind
        x = torch.randn(images, 3, self.side, self.side, generator=torch.Generator().manual_seed(0))
        # whatever is under way around us: rules replace functions, answers may be asked for without gradients
        with torch._C.DisableTorchFunction(), torch.inference_mode(False), torch.set_grad_enabled(what == "backward"):
            x.requires_grad_(what == "backward")
            start = time.process_time()
            scores = self.model(x).amax(1)
            if what == "backward":
                start = time.process_time()
                torch.autograd.grad(scores.sum(), x)
        self.timed[kind].append(time.process_time() - start)
        self.spent += time.process_time() - before

    def images(self, what: str) -> int:
        """Passes that the run made, in images."""
        return sum(calls * size for (kind, size), calls in self.made.items() if kind == what)

    def seconds(self, what: str) -> float:
        """What the run's passes would have taken alone."""
        return sum(calls * fmean(self.timed[kind, size]) for (kind, size), calls in self.made.items() if kind == what)


def study(data: Path, more: Sequence[str]) -> list[str]:
    """The command."""
    return [
        *("run", "experiment=photographs", "executor=serial", f"backbone.file={data / WEIGHTS}"),
        *(f"dataset.path={data / 'labels.csv'}", f"dataset.root={data}"),
        *("dataset.column_path=file", "dataset.column_label=imagenet_index", *more),
    ]


def costs(folder: Path) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """What each method took, and each metric over all methods, an image; the latter's also by method."""
    run = xai.open_run(folder)
    methods = {str(cell.facts["label"]): cell.cost for cell in run.cells}
    metrics: dict[str, list[Cost]] = {}
    for stored in run.measures:
        cost = cost_of(stored.path.parent / "shards")
        if cost is not None:
            metrics.setdefault(str(stored.facts["metric"]), []).append(cost)
    return {k: v for k, v in methods.items() if v is not None}, {k: _sum(v) for k, v in metrics.items()}


def _sum(of: Sequence[Cost]) -> Cost:
    totals = (sum(getattr(c, name) for c in of) for name in ("forward", "backward", "seconds"))
    return Cost(of[0].images, *totals)


def table(title: str, of: Mapping[str, Cost], own: Mapping[str, float]) -> list[str]:
    """Markdown: passes and seconds of each by itself, and over its passes' own time."""
    lines = [f"| {title} | forward | backward | ms an image | x passes |", "|---|---:|---:|---:|---:|"]
    for name, cost in sorted(of.items(), key=lambda item: -item[1].seconds):
        passes = cost.forward * own["forward"] + cost.backward * own["backward"]
        ratio = f"{cost.seconds / passes:.2f}" if passes else "-"
        lines.append(f"| {name} | {cost.forward:.0f} | {cost.backward:.0f} | {1000 * cost.seconds:.0f} | {ratio} |")
    return lines


def main() -> None:
    """Run, print, and note the totals beside the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("more", nargs="*", help="further settings of the study, such as dataset.limit=8")
    args = parser.parse_args()
    torch.set_num_threads(1)
    bare = Bare(Torchvision(arch="squeezenet1_1", file=File(str(args.data / WEIGHTS))).load().eval())
    for kind in (("forward", 1), ("backward", 1)):  # what happens once is no pass
        bare.time(kind)
    bare.timed.clear()
    begun = bare.clock()
    with (
        patch.object(Counts, "add", bare.beside(Counts.add)),
        patch.object(Counts, "_now", lambda counts: bare.clock()),
    ):
        code = command(study(args.data, [*args.more, f"outputs={args.outputs}"]))
    if code not in (0, 3):
        raise SystemExit(code)
    folder = args.outputs / "runs" / "photographs"
    note = folder / "passes.json"
    if bare.made or not note.is_file():
        note.write_text(json.dumps(totals(bare, bare.clock() - begun), indent=1))
    report(folder, json.loads(note.read_text()))


def totals(bare: Bare, seconds: float) -> dict[str, Any]:
    """Passes in images, their own seconds, and the seconds of all."""
    passes = {what: bare.images(what) for what in ("forward", "backward")}
    return {"passes": passes, "own": {what: bare.seconds(what) for what in passes}, "seconds": seconds}


def report(folder: Path, found: Mapping[str, Any]) -> None:
    """Tables and the ratio."""
    passes, own = found["passes"], found["own"]
    each = {what: own[what] / max(1, passes[what]) for what in passes}
    methods, metrics = costs(folder)
    print("\n".join((*table("method", methods, each), "", *table("metric, over all methods", metrics, each), "")))
    print(f"passes: {passes['forward']:,} forward, {passes['backward']:,} backward (images), each made once")
    print(f"bare: {1000 * each['forward']:.1f} ms forward, {1000 * each['backward']:.1f} ms backward an image")
    alone = sum(own.values())
    print(f"their own time {alone:.0f} s, the whole {found['seconds']:.0f} s: x {found['seconds'] / alone:.2f}")


if __name__ == "__main__":
    main()
