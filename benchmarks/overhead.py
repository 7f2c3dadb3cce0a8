"""Framework and store over a bare torch loop with the same passes: gradient on ResNet-18 or ResNet-50.

The bare loop has the network as the framework computes with it (folded, channels last) and as many rows in a pass, so
that what is left is what the framework itself costs.

``engine``: from the first batch to the last sync; imports and model loading excluded. ``xai run``: the whole command in
this process, from composing its config to its page, after one small run that imports everything; measured at two
numbers of images, so that what a run costs at all is told from what an image costs. Ours and the bare loop take turns
in one process on one thread, and process CPU time is compared, because it is the steadiest on a shared machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xai_framework.api import ModuleAdapter, _Given
from xai_framework.attempt import Task
from xai_framework.core import Preprocess
from xai_framework.core.dataset import Item
from xai_framework.engine import Engine
from xai_framework.fast.ways import Ways
from xai_framework.registry import Registry
from xai_framework.store import Store


@dataclass(frozen=True)
class Prepared:
    """A network, pictures for it, and what is asked of it."""

    adapter: ModuleAdapter
    dataset: _Given
    inputs: torch.Tensor
    method: Any
    target: Any

    @property
    def fastest(self) -> nn.Module:
        """The copy that a run computes with."""
        with torch.no_grad():
            return Ways(self.adapter).adapter(self.inputs).model

    def engine(self, task: Task) -> Engine:
        """Ready to run."""
        return Engine(self.adapter, self.dataset, list(self.dataset.rows()), [task])


def prepared(arch: str, images: int) -> Prepared:
    """Random weights, and pictures of noise that have the network's size already."""
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, arch)(weights=None).eval().requires_grad_(False)
    how = Preprocess(crop=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    rng = np.random.default_rng(0)
    items = tuple(Item(str(i), rng.random((224, 224, 3), dtype=np.float32)) for i in range(images))
    adapter, registry = ModuleAdapter(model, how), Registry()
    method, target = (registry.build(k, {"name": n}) for k, n in (("method", "gradient"), ("target", "predicted")))
    inputs = torch.stack([adapter.prepare(i.image).inputs for i in items])
    return Prepared(adapter, _Given(items), inputs, method, target)


def bare(model: nn.Module, inputs: torch.Tensor, batch: int) -> float:
    """The same passes without us: forward, choose the class, gradient of its logit. Processor seconds."""
    start = time.process_time()
    for x in inputs.split(batch):
        leaf = x.clone().requires_grad_()
        outputs = model(leaf)
        score = outputs.gather(1, outputs.argmax(1, keepdim=True)).sum()
        torch.autograd.grad(score, leaf)
    return time.process_time() - start


def engine_ratios(arch: str, images: int, runs: int) -> list[tuple[float, float]]:
    """(ours, bare) seconds of each run, without the first, which warms up."""
    made = prepared(arch, images)
    model, found = made.fastest, []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs + 1):
            cell = Store(Path(folder)).cell(arch, "gradient", {"run": run})
            task = Task("gradient", made.method, made.target, cell)
            engine = made.engine(task)
            with torch.no_grad():
                engine.ways.adapter(made.inputs)  # copying the network belongs to loading it
            start = time.process_time()
            for first in range(0, images, 32):
                engine.run(range(first, min(images, first + 32)), [task])
            ours = time.process_time() - start
            found.append((ours, bare(model, made.inputs, engine.batch)))
    return found[1:]


def whole(arch: str, images: int, page: bool = False) -> float:
    """Processor seconds of one ``xai run`` with random weights and embedded pictures."""
    from xai_framework.cli.main import main as command

    with tempfile.TemporaryDirectory() as folder:
        arguments = ["run", "backbone=torchvision", f"backbone.arch={arch}", "backbone.weights=random"]
        arguments += ["method=[gradient]", f"dataset.images={images}", f"outputs={folder}", f"report={page}".lower()]
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = command(arguments)
        seconds = time.process_time() - start
    if code != 0:
        raise SystemExit(f"xai run ended with {code}")
    return seconds


@dataclass(frozen=True)
class Whole:
    """One comparison of whole runs: processor seconds for all images and for half of them."""

    full: float
    half: float
    paged: float
    bare: float
    bare_half: float

    @property
    def later(self) -> float:
        """Ours over bare for the images of the later half: what remains when there are very many."""
        return (self.full - self.half) / (self.bare - self.bare_half)

    @property
    def fixed(self) -> float:
        """Seconds that a run costs however many images there are."""
        return 2 * self.half - self.full


def wholes(arch: str, images: int, runs: int) -> list[Whole]:
    """Whole runs and the bare loop in turns."""
    made = prepared(arch, images)
    task = Task("gradient", made.method, made.target, None)  # type: ignore[arg-type]
    model, half, rows = made.fastest, images // 2, made.engine(task).batch
    whole(arch, 8, page=True)
    bare(model, made.inputs[:rows], rows)
    return [
        Whole(
            half=whole(arch, half),
            bare_half=bare(model, made.inputs[:half], rows),
            full=whole(arch, images),
            bare=bare(model, made.inputs, rows),
            paged=whole(arch, images, page=True),
        )
        for _ in range(runs)
    ]


def rows_of(archs: list[str], images: int, runs: int, with_whole: bool) -> list[dict[str, Any]]:
    """Everything that is measured."""
    found: list[tuple[str, float, str, str, str]] = []
    for arch in archs:
        pairs = engine_ratios(arch, images, runs)
        ratios = [ours / plain for ours, plain in pairs]
        seconds = statistics.median(plain for _, plain in pairs)
        notes = f"{images} images, {runs} runs, {min(ratios):.3f} to {max(ratios):.3f}, bare {seconds:.2f} s"
        found.append((f"{arch}: engine and store over bare", statistics.median(ratios), "times", "<= 1.05", notes))
        if not with_whole:
            continue
        each = wholes(arch, 2 * images, max(1, runs // 2))
        count = f"{2 * images} images, {len(each)} runs"
        later, fixed = statistics.median(w.later for w in each), statistics.median(w.fixed for w in each)
        full = statistics.median(w.full / w.bare for w in each)
        page = statistics.median((w.paged - w.full) / (2 * images) * 1e3 for w in each)
        found += [
            (f"{arch}: xai run over bare", full, "times", "", f"{count}, without its page"),
            (f"{arch}: xai run over bare, each further image", later, "times", "<= 1.05", f"{count}, without its page"),
            (f"{arch}: xai run, however many images", fixed, "s", "", "config, plan, model, record"),
            (f"{arch}: page of xai run, each image", page, "ms", "", "two pictures are encoded"),
        ]
    return [dict(zip(("work", "ours", "unit", "goal", "notes"), row, strict=True)) for row in found]


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--archs", default="resnet18,resnet50")
    parser.add_argument("--engine-only", action="store_true", help="leave xai run out")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = rows_of(args.archs.split(","), args.images, args.runs, not args.engine_only)
    if args.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        print(f"{row['work']:46} {row['ours']:8.3f} {row['unit']:6} {row['goal']:8} {row['notes']}")


if __name__ == "__main__":
    main()
