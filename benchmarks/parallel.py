"""Two workers against one, and memory as images grow: ``python -m benchmarks.parallel``.

Rates are taken between the moment when all workers have their backbone in memory and the last stored unit, so that they
are those of a long sweep. A machine with other work on its cores shows less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

METHODS = "method=[gradient,gradcam,smoothgrad,occlusion]"


def events(folder: str) -> list[dict[str, object]]:
    """All events of the run ``measured``."""
    lines = [ln for p in Path(folder, "runs/measured/events").iterdir() for ln in p.read_text().splitlines()]
    return sorted(map(json.loads, lines), key=lambda e: e["time"])


def rate(workers: int, images: int) -> float:
    """Maps a second of a run with so many workers of one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"dataset.images={images}", METHODS, "unit=16", "report=false", f"outputs={folder}", "study=measured"]
        words += ["executor=processes", f"executor.workers={workers}"]
        command = [sys.executable, "-m", "xai_framework", "run", *words]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        found = events(folder)
        ready = max(e["time"] for e in found if e["event"] == "loaded")
        stored = [e for e in found if e["event"] == "stored" and e["time"] > ready]
        # the tail, when one worker has nothing left to take, is not what a long sweep is like
        last = [max(e["time"] for e in stored if e["worker"] == w) for w in {e["worker"] for e in stored}]
        end = min(last)
        whole = [e for e in stored if e["time"] <= end]
        return sum(e["maps"] for e in whole) / (end - ready)


def peak(images: int) -> float:
    """Peak memory in MB of a worker that explains so many images."""
    code = (
        "import resource, sys; from xai_framework.cli.main import main; code = main(sys.argv[1:]); "
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024); sys.exit(code)"
    )
    with tempfile.TemporaryDirectory() as folder:
        words = ["run", f"dataset.images={images}", "method=[gradient,gradcam]", "report=false", f"outputs={folder}"]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return float(next(ln for ln in done.stdout.splitlines() if ln.startswith("peak")).split()[1])


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory at 1,000 and 10,000 images instead")
    args = parser.parse_args()
    if args.memory:
        few, many = peak(1000), peak(10_000)
        print(f"peak memory of a run: 1,000 images {few:.0f} MB, 10,000 images {many:.0f} MB, ratio {many / few:.3f}")
        return
    ratios = []
    for _ in range(args.repeats):  # interleaved, so that both see the same machine
        one, two = rate(1, args.images), rate(2, args.images)
        ratios.append(two / one / 2)
        print(f"1 worker {one:.1f} maps/s, 2 workers {two:.1f} maps/s, efficiency {ratios[-1]:.3f}", flush=True)
    print(f"median efficiency of 2 workers: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
