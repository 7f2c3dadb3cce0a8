"""``xai status``, ``xai repair``, ``xai gc`` and ``xai merge``: looking after runs and their stores."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xai_framework.core.errors import StoreError, did_you_mean


def add_parsers(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add the commands; each parser sets ``run`` to its function."""
    status = subparsers.add_parser("status", help="how a run is doing, also from another terminal or machine")
    status.add_argument("path", nargs="?", default="outputs", help="a run's folder, or the outputs folder")
    status.add_argument("--follow", action="store_true", help="until it ends")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=status_command)
    repair = subparsers.add_parser("repair", help="remove what is damaged; the next run computes it again")
    repair.add_argument("path", nargs="?", default="outputs", help="outputs folder, run folder or cell folder")
    repair.add_argument("--json", action="store_true", help="problems as JSON")
    repair.set_defaults(run=repair_command)
    gc = subparsers.add_parser("gc", help="free disk space that results do not need")
    gc.add_argument("path", nargs="?", default="outputs", help="the outputs folder")
    gc.add_argument("--cells", action="store_true", help="also cells that no study names")
    gc.add_argument("--yes", action="store_true", help="remove; without it, only say what would go")
    gc.set_defaults(run=gc_command)
    merge = subparsers.add_parser("merge", help="bring the results of other machines into one outputs folder")
    merge.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="outputs folders to take from; they stay as they are"
    )
    merge.add_argument("--into", default="outputs", metavar="OUTPUTS", help="the folder that takes them (outputs)")
    merge.set_defaults(run=merge_command)


def run_folder(path: Path) -> Path:
    """The run at ``path``: its own folder, or the latest one of an outputs folder. Raises StoreError."""
    if (path / "events").is_dir() or (path / "run.json").is_file():
        return path
    runs = [p for p in (path / "runs").glob("*") if (p / "events").is_dir() or (p / "run.json").is_file()]
    if not runs:
        folders = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        fix = did_you_mean(path.name, folders) if not path.exists() else "give outputs/runs/STUDY"
        raise StoreError("no run is stored here", where=str(path), fix=fix)
    return max(runs, key=lambda p: max(f.stat().st_mtime for f in p.rglob("*")))


def status_command(args: argparse.Namespace) -> int:
    """Read the run's event log; writes nothing."""
    from xai_framework.events import Follower
    from xai_framework.progress import Display, State, summary

    folder = run_folder(Path(args.path))
    follower, state = Follower(folder), State()
    if args.follow:
        with Display() as display:
            while True:
                for event in follower.new():
                    display(event)
                if display.state.ended or display.state.begun is None:
                    break
                time.sleep(0.5)
        state = display.state
    for event in follower.new():
        state.take(event)
    if args.json:
        facts = {**asdict(state), "images": state.images, "remaining": state.remaining, "folder": str(folder)}
        print(json.dumps(facts))
        return 0
    if state.begun is None:
        print(f"{folder}: nothing was computed by it: every map was stored already")
        return 0
    ago = time.time() - state.latest
    silent = "" if state.ended or ago < 60 else f"; nothing heard for {ago:.0f} s, it may have been killed"
    print(f"{folder}: {state.ended or 'running'}{silent}")
    print(f"{state.units[0]}/{state.units[1]} units, {summary(state)}")
    for name, worker in state.workers.items():
        at = f"{worker.images} images of {worker.backbone} at hand" if worker.images else "idle"
        print(f"  {name}: {at}, {worker.stored} maps stored")
    for note in state.notes:
        print(f"  {note}")
    return 0


def repair_command(args: argparse.Namespace) -> int:
    """``xai verify --repair``."""
    from xai_framework.cli.verify import verify_command

    return verify_command(argparse.Namespace(path=args.path, repair=True, json=args.json))


def gc_command(args: argparse.Namespace) -> int:
    """Say or remove what is not needed."""
    from xai_framework.store import garbage

    outputs = Path(args.path)
    if not (outputs / "store").is_dir():
        raise StoreError("no store is here", where=str(outputs), fix="give the outputs folder")
    _refuse_while_running(outputs)
    found = garbage(outputs, cells=args.cells)
    for what in found:
        print(f"{what.bytes / 1e6:10.1f} MB  {what.path.relative_to(outputs)}: {what.why}")
        if args.yes:
            what.remove()
    total = sum(w.bytes for w in found) / 1e6
    print(f"{total:10.1f} MB  {'freed' if args.yes else 'could be freed; --yes removes it'}")
    return 0


def _refuse_while_running(outputs: Path) -> None:
    """Raises StoreError where a run has been heard of within the last minute and has not ended."""
    from xai_framework.events import Follower
    from xai_framework.progress import State

    for folder in (outputs / "runs").glob("*"):
        state = State()
        for event in Follower(folder).new():
            state.take(event)
        if state.begun is not None and not state.ended and time.time() - state.latest < 60:
            raise StoreError("a run is writing here", where=str(folder), fix="wait for its end, see xai status")


def merge_command(args: argparse.Namespace) -> int:
    """Copy shards and records; nothing that is there already is copied again."""
    from xai_framework.cli.verify import cell_folders
    from xai_framework.store import CellStore, open_cell, read_run, write_atomic, write_run

    target = Path(args.into)
    for source in map(Path, args.sources):
        if not (source / "store").is_dir():
            raise StoreError("no store is here", where=str(source), fix="give an outputs folder")
        if source.resolve() == target.resolve():
            raise StoreError("is the folder that takes the others", where=str(source), fix="leave it out")
        cells = cell_folders(source / "store")
        taken = 0
        for folder in cells:
            theirs = open_cell(folder)
            mine = CellStore(target / folder.relative_to(source), theirs.identity)
            mine.check_identity()
            taken += mine.adopt(theirs)
        for decision in sorted((source / "store" / "precision").glob("*.json")):
            if not (target / decision.relative_to(source)).exists():  # what decided which cells there are
                write_atomic(target / decision.relative_to(source), decision.read_bytes())
        for run in sorted(p.parent for p in (source / "runs").glob("*/run.json")):
            record = read_run(run)
            for cell in (*record["cells"], *record["values"]):
                for name in (Path(cell["file"]), Path(cell["file"]).with_suffix(".json")):
                    if not (target / name).exists():
                        write_atomic(target / name, (source / name).read_bytes())
            write_run(target / "runs" / run.name, record)
        print(f"{source}: {taken} new shards of {len(cells)} cells")
    print(f"the same 'xai run ... outputs={target}' now computes what is still missing, and shows all of it")
    return 0
