"""``python -m benchmarks NAME ... [--json] [--write]``: our speed against other libraries' and the machine's limit."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence

import torch

from benchmarks import limit
from benchmarks.speed import comparison, gradcam, occlusion, page, path, rise, scorecam, shared, smoothgrad
from benchmarks.speed.row import Options, Row
from benchmarks.speed.work import measure
from benchmarks.timing import Clock

WORKS = {
    "occlusion": occlusion,
    "shared": shared,
    "gradcam": gradcam,
    "smoothgrad": smoothgrad,
    "path": path,
    "scorecam": scorecam,
    "rise": rise,
    "comparison": comparison,
}
PRECISIONS = ("float32", "bfloat16")


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was measured."""
    args = _arguments(argv)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    options = Options(args.runs, args.budget, args.quick, Clock(args.wall))
    names = [*WORKS, "limit"] if "all" in args.names else list(dict.fromkeys(args.names))
    said = page.machine(options.clock)
    print(said, file=sys.stderr, flush=True)
    rows: list[Row] = []
    for name in names:
        for work in WORKS[name].works(options) if name in WORKS else ():
            if args.network and args.network not in work.network:
                continue
            found = measure(work, options)
            print(page.printed(found), file=sys.stderr, flush=True)
            rows += found
            if args.write:  # at once: what is measured is kept if a later work is stopped
                page.write({"machine": said, "table": page.table(found)})
    gflops = {p: limit.gflops(p, options.clock) for p in PRECISIONS} if "limit" in names else {}
    bare = _limits(options, args.network) if "limit" in names else []
    if args.json:
        limits = [
            {"network": b.network, "precision": b.precision, "kind": b.kind, "setting": b.setting, "seconds": b.seconds}
            for b in bare
        ]
        plain = {"machine": said, "gflops": gflops, "limits": limits, "rows": [r.plain() for r in rows]}
        print(json.dumps(plain, indent=1))
    else:
        print(
            said,
            *([page.limits_table(gflops, bare)] if bare else []),
            *([page.table(rows)] if rows else []),
            sep="\n\n",
        )
    if args.write and bare:
        page.write({"machine": said, "limits": page.limits_table(gflops, bare)})
    if args.write and "all" in args.names and not args.network:
        page.write({"table": page.table(rows)}, whole=True)  # without lines of works that are no more
    return 0


def _limits(options: Options, only: str) -> list[limit.Bare]:
    """Those of all networks; what a work has needed already is known."""
    names = ["squeezenet1_1"] if options.quick else ["squeezenet1_1", "alexnet", "resnet50", "vgg16"]
    found = []
    for name in (n for n in names if only in n):
        for precision in PRECISIONS:
            for kind in limit.KINDS:
                found.append(limit.best(name, precision, kind, options.clock, options.size, options.batches))
                one = found[-1]
                print(
                    f"{name} {precision} {kind}: {1000 * one.seconds:.1f} ms, {one.setting}",
                    file=sys.stderr,
                    flush=True,
                )
    return found


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="+", choices=[*WORKS, "limit", "all"], metavar="NAME", help=f"{', '.join(WORKS)}, limit, all"
    )
    parser.add_argument("--network", default="", help="only networks whose name has this in it")
    parser.add_argument("--json", action="store_true", help="results as JSON")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--runs", type=int, default=3, help="interleaved rounds")
    parser.add_argument(
        "--budget", type=float, default=300.0, help="seconds that the rounds of a work take at most, after the first"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes that show only that it works, in about a minute"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true", help="wall time instead of process CPU time, on a quiet machine")
    args = parser.parse_args(argv)
    if args.quick and args.write:
        parser.error("--quick shows only that everything works; its figures are not for the page")
    return args


if __name__ == "__main__":
    sys.exit(main())
