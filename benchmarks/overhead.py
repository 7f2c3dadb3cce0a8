"""Framework and store over a bare torch loop with the same passes: ResNet-18, 32 images, gradient.

From the first batch to the last fsync; imports and model loading excluded. The two are interleaved in one process on
one thread, and process CPU time is compared, because it is the steadiest on a shared machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from xai_framework.api import ModuleAdapter, _Given
from xai_framework.attempt import Task
from xai_framework.core import Preprocess
from xai_framework.core.dataset import Item
from xai_framework.engine import Engine
from xai_framework.registry import Registry
from xai_framework.store import Store


def bare(model: nn.Module, inputs: torch.Tensor, batch: int) -> None:
    """The same passes without us: forward, choose the class, gradient of its logit."""
    for x in inputs.split(batch):
        leaf = x.clone().requires_grad_()
        outputs = model(leaf)
        score = outputs.gather(1, outputs.argmax(1, keepdim=True)).sum()
        torch.autograd.grad(score, leaf)


def main() -> None:
    """Print the median ratio and its spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--images", type=int, default=32)
    args = parser.parse_args()
    import torchvision

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval().requires_grad_(False)
    how = Preprocess(crop=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    rng = np.random.default_rng(0)
    items = tuple(Item(str(i), rng.random((224, 224, 3), dtype=np.float32)) for i in range(args.images))
    dataset, adapter, registry = _Given(items), ModuleAdapter(model, how), Registry()
    rows = list(dataset.rows())
    method, target = (registry.build(k, {"name": n}) for k, n in (("method", "gradient"), ("target", "predicted")))
    inputs = torch.stack([adapter.prepare(i.image).inputs for i in items])
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(args.runs + 1):
            cell = Store(Path(folder)).cell("resnet18", "gradient", {"run": run})
            tasks = [Task("gradient", method, target, cell)]  # type: ignore[arg-type]
            engine = Engine(adapter, dataset, rows, tasks)
            start = time.process_time()
            engine.run(range(len(rows)), tasks)
            middle = time.process_time()
            bare(model, inputs, engine.batch)
            end = time.process_time()
            if run:  # the first warms up
                ours.append(middle - start)
                theirs.append(end - middle)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"images {args.images}, batch {engine.batch}, one thread, {args.runs} interleaved runs, process CPU time")
    print(f"bare loop {statistics.median(theirs):.3f} s, framework and store {statistics.median(ours):.3f} s")
    print(f"ratio {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
