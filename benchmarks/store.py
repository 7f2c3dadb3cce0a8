"""The store's own speed: 224x224 float32 maps in shards of 32, with checksums, against h5py and numpy as they are.

Written shard by shard, the three in turn, in one process on one thread; medians over the shards. Processor time is that
of the process, wall time includes waiting for the disk: each shard is synced. Reading is from a merged file that the
system has in memory. What the store keeps a network from is measured with ResNet-50 and gradient, the cheapest method.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xai_framework.store import Block, CellStore, MapFile, Store

ROWS, GRID = 32, (1, 224, 224)
_WARM = 3
"""Shards that are written before the clock counts: the first two of a cell are laid out anew."""


@dataclass
class Clock:
    """Seconds of each call, of the processor and on the wall."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], Any]) -> Any:
        """Do it."""
        cpu, wall = time.process_time(), time.perf_counter()
        found = work()
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)
        return found

    def speeds(self) -> tuple[float, float]:
        """Maps a second, by the processor's and by the wall's clock."""
        return ROWS / statistics.median(self.cpu[_WARM:]), ROWS / statistics.median(self.wall[_WARM:])


def block(first: int) -> Block:
    """Noise, which is what gradients look like."""
    rng, rows = np.random.default_rng(first), range(first, first + ROWS)
    maps = rng.standard_normal((ROWS, *GRID)).astype(np.float32)
    number, text = np.arange(ROWS), [f"class {i % 1000}" for i in rows]
    share = np.full(ROWS, 0.5, np.float32)
    return Block(
        ids=tuple(f"photograph-{i:06d}.jpg" for i in rows),
        contents=tuple(f"{i:064x}" for i in rows),
        attribution=maps,
        status=np.zeros(ROWS, np.int8),
        reason=("",) * ROWS,
        target=number,
        target_name=tuple(text),
        score=share,
        probability=share,
        prediction=number,
        prediction_name=tuple(text),
        prediction_probability=share,
        label=tuple(text),
        view=np.zeros((ROWS, 4)),
        image_size=np.full((ROWS, 2), 500, np.int32),
        input_size=np.full((ROWS, 2), 224, np.int32),
    )


def plain_h5py(path: Path, maps: np.ndarray) -> None:
    """What one would write without us: no names, no targets, no promise but a sync."""
    with h5py.File(path, "w") as file:
        file.create_dataset("maps", data=maps, chunks=(1, *GRID), fletcher32=True)
    _sync(path)


def plain_numpy(path: Path, maps: np.ndarray) -> None:
    """No checksums either."""
    np.save(path, maps)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def writing(folder: Path, shards: int) -> tuple[CellStore, list[Block], dict[str, Clock]]:
    """Write as many shards in each way."""
    cell = Store(folder / "store").cell("resnet50", "gradient", {"method": {"name": "gradient"}})
    clocks = {name: Clock() for name in ("store", "h5py", "numpy")}
    blocks = []
    for shard in range(shards + _WARM):
        made = block(shard * ROWS)
        clocks["store"].time(lambda made=made: cell.write(made, {"versions": "{}"}, {"seconds": 1.0}))
        clocks["h5py"].time(lambda made=made, k=shard: plain_h5py(folder / f"{k}.h5", made.attribution))
        clocks["numpy"].time(lambda made=made, k=shard: plain_numpy(folder / f"{k}.npy", made.attribution))
        for path in (*folder.glob("*.h5"), *folder.glob("*.npy")):
            path.unlink()
        blocks.append(made)
    return cell, blocks, clocks


def merging_and_reading(cell: CellStore, blocks: list[Block], reads: int) -> tuple[float, float]:
    """Milliseconds of the processor to merge a shard, and microseconds to read one map."""
    clock = Clock()
    path: Path = clock.time(lambda: cell.merge([key for b in blocks for key in b.keys], "all"))
    total = len(blocks) * ROWS
    with MapFile(path) as file:
        each = Clock()
        for row in np.random.default_rng(0).integers(total, size=reads).tolist():
            found = each.time(lambda row=row: file.attribution[row])
            assert np.array_equal(found, blocks[row // ROWS].attribution[row % ROWS])
    return clock.cpu[0] / len(blocks) * 1e3, statistics.median(each.wall) * 1e6


def blocked(folder: Path, arch: str, images: int) -> float:
    """The share of the time of computing and storing maps in which the network waits for the store."""
    import torch

    from benchmarks.overhead import prepared
    from xai_framework.attempt import Task

    torch.set_num_threads(1)
    made = prepared(arch, images)
    clock = Clock()

    class Timed:
        def __init__(self, cell: CellStore) -> None:
            self.cell = cell

        def write(self, rows: Block, attributes: dict[str, str], volatile: dict[str, Any]) -> object:
            return clock.time(lambda: self.cell.write(rows, attributes, volatile))

    cell = Store(folder / "blocked").cell(arch, "gradient", {})
    task = Task("gradient", made.method, made.target, Timed(cell))
    engine = made.engine(task)
    start = time.perf_counter()
    for first in range(0, images, ROWS):
        engine.run(range(first, min(images, first + ROWS)), [task])
    return sum(clock.wall) / (time.perf_counter() - start)


def rows_of(folder: Path, shards: int, arch: str, images: int) -> list[dict[str, Any]]:
    """Everything that is measured."""
    cell, blocks, clocks = writing(folder, shards)
    merge, read = merging_and_reading(cell, blocks, 1000)
    speeds = {name: clock.speeds() for name, clock in clocks.items()}
    what = f"{ROWS} maps a shard, median of {shards}"
    found = [
        ("write, processor time", speeds["store"][0], "maps/s", ">= 3000", what),
        ("write, wall time, synced", speeds["store"][1], "maps/s", ">= 2000", what),
        ("plain h5py with checksums, processor time", speeds["h5py"][0], "maps/s", "", "maps only"),
        ("plain h5py with checksums, wall time, synced", speeds["h5py"][1], "maps/s", "", "maps only"),
        ("numpy.save, processor time", speeds["numpy"][0], "maps/s", "", "maps only, no checksums"),
        ("numpy.save, wall time, synced", speeds["numpy"][1], "maps/s", "", "maps only, no checksums"),
        ("merge a shard, processor time", merge, "ms", "", f"{len(blocks)} shards, checksums checked and taken"),
        ("read a map at random", read, "us", "<= 150", f"of {len(blocks) * ROWS}, checksum checked, in memory"),
    ]
    if arch:
        share = blocked(folder, arch, images) * 100
        found.append((f"{arch}, gradient: waiting for the store", share, "%", "<= 2", f"{images} images, one thread"))
    return [dict(zip(("work", "ours", "unit", "goal", "notes"), row, strict=True)) for row in found]


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--arch", default="resnet50", help="empty: leave the network out")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: that of temporary files")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows = rows_of(Path(folder), args.shards, args.arch, args.images)
    if args.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        print(f"{row['work']:46} {row['ours']:10.1f} {row['unit']:7} {row['goal']:8} {row['notes']}")


if __name__ == "__main__":
    main()
