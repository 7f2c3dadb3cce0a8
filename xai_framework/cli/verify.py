"""``xai verify``: checks every stored map of a run or a store."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import StoreError

if TYPE_CHECKING:
    from xai_framework.store import CellStore, Problem


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``verify`` to the command line."""
    parser = subparsers.add_parser("verify", help="check stored maps: checksums, identity, completeness")
    parser.add_argument("path", nargs="?", default="outputs", help="outputs folder, run folder or cell folder")
    parser.add_argument("--repair", action="store_true", help="remove what is damaged; a rerun computes it again")
    parser.add_argument("--json", action="store_true", help="problems as JSON")
    parser.set_defaults(run=verify_command)


def verify_command(args: argparse.Namespace) -> int:
    """Print each problem; exit code 1 where one is left."""
    from xai_framework.store import CellStore

    cells = cell_folders(Path(args.path))
    problems = [found for folder in cells for found in _asked(folder, CellStore.verify)]
    left = [found for folder in cells for found in _asked(folder, CellStore.repair)] if args.repair else problems
    if args.json:
        print(json.dumps([{"cell": str(folder), "problem": str(problem)} for folder, problem in problems]))
    else:
        for folder, problem in problems:
            print(f"{folder}: {problem}")
        print(f"{len(cells)} cells checked, {len(problems)} problems")
        if args.repair:
            print("\n".join(["after repair:", *(f"{f}: {p}" for f, p in left)]) if left else "repaired")
        elif not problems:
            print(_digest_line(cells))
    # what the next run mends by itself is no reason to fail after a repair
    return 1 if any(not args.repair or "the next run" not in p.what for _, p in left) else 0


def _asked(folder: Path, question: Callable[[CellStore], list[Problem]]) -> list[tuple[Path, Problem]]:
    from xai_framework.store import Problem, open_cell

    try:
        return [(folder, problem) for problem in question(open_cell(folder))]
    except StoreError as error:  # its identity is unreadable: nothing else of it can be judged
        return [(folder, Problem("cell.json", f"{error.what}; {error.fix}" if error.fix else error.what))]


def _digest_line(cells: Sequence[Path]) -> str:
    """One checksum of all merged files; equal plans give equal ones, whoever computed them."""
    from xai_framework.store import digest

    found, left_out = digest(cells)
    said = f"digest of all merged files: {found}"
    return said + (f" ({left_out} left out: memory ran out while they were computed)" if left_out else "")


def cell_folders(path: Path) -> list[Path]:
    """All cells at or below ``path``; for a run folder the cells it names."""
    if not path.is_dir():
        raise StoreError("no such folder", where=str(path), fix="give the outputs folder, a run or a cell")
    record = path / "run.json"
    if record.is_file():
        from xai_framework.store import read_run

        found = read_run(path)
        return sorted({(path.parent.parent / c["file"]).parent for c in (*found["cells"], *found["values"])})
    return sorted(p.parent for p in path.rglob("cell.json"))
