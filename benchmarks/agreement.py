"""Agreement of our maps with other libraries', in float64, on the same networks: ``python -m benchmarks.agreement``.

Networks: ResNet-18, VGG-11 and SqueezeNet 1.1 with random weights, and the two embedded ones with their trained
weights. The figure is max |ours - theirs| / max |theirs| over a batch of two pictures. ``--write`` puts the table into
docs/agreement.md.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers import with_cams, with_captum, with_zennit
from benchmarks.peers.common import LAYERS, SIZE, Comparison

PEERS = (with_captum, with_cams, with_zennit)
PAGE = Path(__file__).parents[1] / "docs" / "agreement.md"
START, END = "<!-- table -->", "<!-- end of table -->"


def comparisons(name: str) -> Iterator[Comparison]:
    """Everything that any peer has too, on one network."""
    for peer in PEERS:
        yield from peer.comparisons(name)


def table(found: dict[tuple[str, str, str], dict[str, float]]) -> str:
    """One row a method, one column a network."""
    names = list(LAYERS)
    lines = ["| library | method | " + " | ".join(names) + " | note |", "|---|---|" + "---|" * len(names) + "---|"]
    for (peer, method, note), errors in found.items():
        cells = [f"{errors[n]:.0e}" if n in errors else "" for n in names]
        lines.append(f"| {peer} | {method} | {' | '.join(cells)} | {note} |")
    return "\n".join(lines)


def main() -> int:
    """Print one line a comparison and whatever disagrees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("networks", nargs="*", default=list(LAYERS), help=f"any of {', '.join(LAYERS)}")
    parser.add_argument("--write", action="store_true", help="put the table into docs/agreement.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    wrong = []
    print(f"float64, {SIZE} x {SIZE} pixels, relative to the largest value")
    for name in args.networks:
        for c in comparisons(name):
            error = c.error()
            # layers have other names in every network; a row speaks of the n-th kind of layer
            method, _, layer = c.method.partition(" ")
            kind = "overwritten in place" if layer in LAYERS[name][1:] else "" if layer in LAYERS[name] else layer
            row = found.setdefault((c.peer, " ".join(filter(None, (method, kind))), c.note), {})
            row[name] = max(error, row.get(name, 0.0))
            wrong += [f"{name} {c.method}: {error:.1e} > {c.allowed:.0e}"] if error > c.allowed else []
            print(f"{name:15} {c.peer:18} {c.method:34} {error:.1e}", flush=True)
    print(f"{sum(map(len, found.values()))} comparisons, {len(wrong)} beyond what is allowed")
    print("\n".join(wrong))
    if args.write:
        text = PAGE.read_text("utf-8")
        before, after = text.split(START)[0], text.split(END)[1]
        PAGE.write_text(f"{before}{START}\n{table(found)}\n{END}{after}", "utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
