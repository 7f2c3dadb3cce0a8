"""``xai verify``: checks every stored map of a run or a store."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from xai_framework.core.errors import StoreError


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``verify`` to the command line."""
    parser = subparsers.add_parser("verify", help="check stored maps: checksums, identity, completeness")
    parser.add_argument("path", nargs="?", default="outputs", help="outputs folder, run folder or cell folder")
    parser.add_argument("--repair", action="store_true", help="remove what is damaged; a rerun computes it again")
    parser.add_argument("--json", action="store_true", help="problems as JSON")
    parser.set_defaults(run=verify_command)


def verify_command(args: argparse.Namespace) -> int:
    """Print each problem; exit code 1 where one is left."""
    from xai_framework.store import open_cell

    cells = cell_folders(Path(args.path))
    problems = [(folder, problem) for folder in cells for problem in open_cell(folder).verify()]
    left = [(f, p) for f in cells for p in open_cell(f).repair()] if args.repair else problems
    if args.json:
        print(json.dumps([{"cell": str(folder), "problem": str(problem)} for folder, problem in problems]))
    else:
        for folder, problem in problems:
            print(f"{folder}: {problem}")
        print(f"{len(cells)} cells checked, {len(problems)} problems")
        if args.repair:
            print("\n".join(["after repair:", *(f"{f}: {p}" for f, p in left)]) if left else "repaired")
    # what the next run mends by itself is no reason to fail after a repair
    return 1 if any(not args.repair or "the next run" not in p.what for _, p in left) else 0


def cell_folders(path: Path) -> list[Path]:
    """All cells at or below ``path``; for a run folder the cells it names."""
    if not path.is_dir():
        raise StoreError("no such folder", where=str(path), fix="give the outputs folder, a run or a cell")
    record = path / "run.json"
    if record.is_file():
        outputs = path.parent.parent
        files = [outputs / c["file"] for c in json.loads(record.read_text("utf-8"))["cells"]]
        return sorted({f.parent for f in files})
    return sorted(p.parent for p in path.rglob("cell.json"))
