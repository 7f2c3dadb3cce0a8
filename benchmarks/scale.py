"""What a large sweep costs beside its passes: ``python -m benchmarks.scale``.

Plans 50,000 images x 20 methods x 5 backbones; scans a simulated store of 100,000 units; hands its missing units to
1,000 simulated workers in one event simulation. The explainer is a fake: nothing is computed but everything is planned,
claimed, found and counted by the product's own code.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import heapq
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

DATASET = '''
from dataclasses import dataclass
from collections.abc import Iterator
from xai_framework.core import Dataset, Item, Row, param
import hashlib


@dataclass(frozen=True)
class Pretended(Dataset):
    """Rows without pictures."""

    images: int = param(50000, ge=1, doc="how many")

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Item:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return str(self.images)

    def rows(self) -> Iterator[Row]:
        for i in range(self.images):
            yield Row(f"ILSVRC2012_val_{i:08d}.JPEG", hashlib.sha256(str(i).encode()).hexdigest(), i % 1000)
'''
METHODS = [
    "gradient",
    "input_x_gradient",
    "smoothgrad",
    "smoothgrad_squared",
    "vargrad",
    "integrated_gradients",
    "expected_gradients",
    "fullgrad",
    "guided_backprop",
    "deconvnet",
    "gradcam",
    "gradcam_plus_plus",
    "xgradcam",
    "hirescam",
    "layercam",
    "eigencam",
    "scorecam",
    "ablationcam",
    "occlusion",
    "rise",
]
BACKBONES = ["resnet18", "resnet50", "vgg16", "densenet121", "squeezenet1_1"]


def peak() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def jobs(images: int, backbones: int, methods: int, registry: object) -> list[object]:
    """The jobs of the command a user would type."""
    from xai_framework.cli.run import composed_jobs
    from xai_framework.spec.compose import job_of

    words = [
        "dataset=pretended",
        f"dataset.images={images}",
        "backbone=torchvision",
        "backbone.weights=random",
        f"backbone.arch={','.join(BACKBONES[:backbones])}",
        f"method=[{','.join(METHODS[:methods])}]",
        "-m",
    ]
    configs = composed_jobs(words, registry, [])
    return [job_of(c, registry) for c in configs or []]


def pretend(study: object, share: float, seed: int) -> int:
    """Fill a share of all units with shards that nobody will open; returns how many shards there are then."""
    from xai_framework.store import rows_digest
    from xai_framework.store.journal import Entry, _line, _rows_line

    draw, count = random.Random(seed), 0
    for group in study.groups:
        keys, size = group.manifest.keys(), group.job.settings.unit
        blocks = [keys[k : k + size] for k in range(0, len(keys), size)]
        done = [draw.random() < share for _ in blocks]
        names = [rows_digest(b) for b in blocks]
        for cell in group.cells:
            folder = cell.store.path / "shards"
            folder.mkdir(parents=True)
            lines = []
            for block, name, stored in zip(blocks, names, done, strict=True):
                if stored:
                    digest = hashlib.sha256(f"{cell.store.id}{name}".encode()).hexdigest()
                    (folder / f"{digest[:32]}.h5").write_bytes(b"")
                    entry = Entry(f"{digest[:32]}.h5", digest, 0, tuple(block), (0,) * len(block))
                    lines.append(_line(entry, name))
                    count += 1
            cell.store.journal_path.write_bytes(b"\n".join(lines) + b"\n")
            (cell.store.path / "rows.jsonl").write_bytes(
                b"\n".join(_rows_line(b) for b, s in zip(blocks, done, strict=True) if s)
            )
    return count


def simulate(study: object, units: list[list[object]], workers: int, folder: Path, seed: int) -> dict[str, float]:
    """Hand out all units to simulated workers, in simulated time; some workers die of theirs. Returns what it took."""
    from xai_framework.executors.work import Pieces, Work
    from xai_framework.stop import Stop
    from xai_framework.store import Claims

    work = Work(study, units, (), folder, Stop(), lambda _e: None)
    pieces = work.pieces()
    claims = Claims(folder)
    given_up: list[object] = []
    queue = Pieces(study.groups, pieces, claims, lambda piece, why: given_up.append(piece))
    draw, clock, busy, loads, deaths, done = random.Random(seed), 0.0, Counter(), 0, 0, 0
    loaded: dict[int, int] = {}
    running: list[tuple[float, int, object]] = []
    idle = list(range(workers))
    start = time.perf_counter()
    while idle or running:
        while idle:
            worker = idle.pop()
            piece = queue.take(loaded.get(worker), busy)
            if piece is None:
                idle.clear()
                break
            busy[piece.group] += 1
            loads += loaded.get(worker) != piece.group
            pause = 5.0 * (loaded.get(worker) != piece.group)
            loaded[worker] = piece.group
            heapq.heappush(running, (clock + pause + draw.uniform(20, 40) * len(piece.cells) / 20, worker, piece))
        if not running:
            break
        clock, worker, piece = heapq.heappop(running)
        busy[piece.group] -= 1
        if draw.random() < 0.001 and not piece.deaths:
            deaths += 1
            loaded.pop(worker, None)
            queue.lost(piece, "signal SIGKILL")
        else:
            queue.finish(piece)
            done += 1
        idle.append(worker)
    claims.close()
    seconds = time.perf_counter() - start
    ideal = sum(30.0 * len(p.cells) / 20 for p in pieces) / workers
    return {
        "pieces": done,
        "deaths": deaths,
        "given_up": len(given_up),
        "seconds": round(seconds, 2),
        "ms_a_piece": round(1000 * seconds / max(1, done), 3),
        "loads_a_worker": round(loads / workers, 2),
        "simulated_hours": round(clock / 3600, 2),
        "efficiency": round(ideal / clock, 3),
    }


def measured(part: str) -> dict[str, object]:
    """One part, in a process of its own, so that its memory is its own."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.scale", "--part", part], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def part_plan() -> dict[str, object]:
    """The driver's own work for the large sweep, with an empty store: first plan, and again with known manifests."""
    from xai_framework.plan import plan
    from xai_framework.registry import Registry

    registry = Registry([write_plugin()])
    start = time.perf_counter()
    made = jobs(50_000, 5, 20, registry)
    composed = time.perf_counter() - start
    before = peak()
    times = []
    for _ in range(2):
        start = time.perf_counter()
        study = plan(made, registry)
        units = [g.units(g.job.settings.unit) for g in study.groups]
        times.append(time.perf_counter() - start)
    shards = sum(len(u.cells) for us in units for u in us)
    return {
        "cells": len(study.cells),
        "units": sum(map(len, units)),
        "shards": shards,
        "maps": sum(len(u.rows) * len(u.cells) for us in units for u in us),
        "compose_s": round(composed, 2),
        "first_plan_s": round(times[0], 2),
        "plan_s": round(times[1], 2),
        "before_MB": round(before),
        "peak_MB": round(peak()),
    }


def part_scan() -> dict[str, object]:
    """A store of 100,000 shards."""
    from xai_framework.plan import plan
    from xai_framework.registry import Registry

    registry = Registry([write_plugin()])
    study = plan(jobs(160_000, 1, 20, registry), registry)
    shards = pretend(study, 1.0, seed=0)
    scans = []
    for _ in range(3):
        start = time.perf_counter()
        units = [g.units(g.job.settings.unit) for g in study.groups]
        scans.append(time.perf_counter() - start)
    missing = sum(len(u.cells) for us in units for u in us)
    return {"stored": shards, "missing": missing, "scan_s": round(min(scans), 2), "peak_MB": round(peak())}


def part_workers() -> dict[str, object]:
    """The large sweep in units of 8 images, given to 1,000 workers in simulated time."""
    from xai_framework.plan import plan
    from xai_framework.registry import Registry

    registry = Registry([write_plugin()])
    study = plan(jobs(50_000, 5, 20, registry), registry)
    units = [g.units(8) for g in study.groups]
    return simulate(study, units, 1000, Path("simulated"), seed=0)


def write_plugin() -> str:
    """The pretended dataset as a local plugin."""
    Path("pretended.py").write_text(DATASET)
    return "pretended.py"


PARTS = {"plan": part_plan, "scan": part_scan, "workers": part_workers}


def main() -> None:
    """Print all figures; everything is written to a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("plan", "scan", "workers"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.part:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            print(json.dumps(PARTS[args.part]()))
        return
    os.environ["PYTHONPATH"] = str(Path.cwd())
    found = {part: measured(part) for part in PARTS}
    if args.json:
        print(json.dumps(found))
        return
    for part, facts in found.items():
        print(part)
        for name, value in facts.items():
            print(f"  {name:30} {value:>12,}")


if __name__ == "__main__":
    main()
