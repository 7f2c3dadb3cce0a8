"""``xai compare A B``: what changed between two runs, or between two cells of one."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import ConfigError

if TYPE_CHECKING:
    from xai_framework.statistics import RunChanges
    from xai_framework.store import Run, StoredMaps

DIFFERS = 3
_NOTHING_DIFFERS = 0
_EPILOG = """\
A and B are folders of runs, or single methods: a result file, RUN::gradcam, or RUN::'gradcam @ backbone, target' where
the run has several. Cells are paired by method label, backbone, target and dataset, rows by image id and content. Where
each run has one backbone, these are paired whatever their names; otherwise --backbone A=B says which.

exit code: 0 nothing differs, 3 something does (also what only one of them has), 1 a mistake, told on stderr.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``compare`` to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="what changed between two runs or two methods: maps, predictions, metrics",
        description="What changed between two runs (checkpoints, versions of a method) or two methods of a run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", metavar="A", help="a run's folder, RUN::METHOD, or a result file")
    parser.add_argument("second", metavar="B", help="the same")
    parser.add_argument("--backbone", action="append", default=[], metavar="A=B", help="of A and B; may be repeated")
    parser.add_argument("--most", type=int, default=5, metavar="N", help="most changed images listed a pair (5)")
    parser.add_argument("--format", choices=("text", "markdown", "csv"), default="text", help="of the output")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--figure", metavar="FILE", help="also draw the most changed images, .pdf or .png")
    parser.set_defaults(run=compare_command)


def compare_command(args: argparse.Namespace) -> int:
    """Print what differs."""
    from xai_framework.statistics import changes_table

    if args.most < 0:
        raise ConfigError(f"{args.most} images cannot be listed", where="--most", fix="give 0 or more")
    if args.figure:
        from xai_framework.figures.paper import check_matplotlib, outputs_of

        check_matplotlib()
        outputs_of(Path(args.figure))  # a wrong ending is told before the work
    changes = _changes(args)
    if args.json:
        print(json.dumps(changes_table.to_json(changes), indent=1))
    elif args.format == "text":
        print("\n".join(changes_table.lines(changes)))
    else:
        print({"markdown": changes_table.to_markdown, "csv": changes_table.to_csv}[args.format](changes), end="")
    if args.figure:
        _draw(changes, args)
    return DIFFERS if changes.differs else _NOTHING_DIFFERS


def _changes(args: argparse.Namespace) -> RunChanges:
    from xai_framework.statistics import cell_changes, run_changes

    (first, one), (second, two) = _opened(args.first), _opened(args.second)
    how = {"most": args.most}
    if one is None and two is None:
        return run_changes(first, second, backbones=_backbones(args.backbone), **how)
    if args.backbone:
        raise ConfigError("two methods need no pairs of backbones", where="--backbone", fix="leave it out")
    if one is None or two is None:
        raise ConfigError(
            "a single method is compared with a single method",
            where="xai compare",
            fix=f"write {args.second if one else args.first}::METHOD too",
        )
    return cell_changes(one, two, (_measures(first, one), _measures(second, two)), **how)


def _opened(text: str) -> tuple[Run, StoredMaps | None]:
    """A run, and the cell behind ``::``. Raises StoreError where there is none."""
    from xai_framework.cli.upkeep import run_folder
    from xai_framework.store import open_run

    folder, colons, name = text.partition("::")
    path = Path(folder)
    run = open_run(path if path.is_file() else run_folder(path))
    if run.folder.is_file():  # a single result file
        return run, run.cells[0]
    return run, run[name] if colons else None


def _measures(run: Run, cell: StoredMaps) -> list[Any]:
    keys = ("label", "backbone", "target", "dataset")
    return [m for m in run.measures if all(m.facts.get(k) == cell.facts.get(k) for k in keys)]


def _backbones(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for a, equals, b in pairs:
        if not (a and equals and b):
            raise ConfigError(f"{a + equals + b!r} names no pair", where="--backbone", fix="write --backbone A=B")
    return {a: b for a, _, b in pairs}


def _draw(changes: RunChanges, args: argparse.Namespace) -> None:
    """The figure; where no map changed there is none, which is no mistake."""
    from xai_framework.figures import changes_figure

    if not any(p.maps.most_changed for p in changes.pairs):
        print("no map changed: no figure is drawn", file=sys.stderr)
        return
    names = (Path(args.first).name, Path(args.second).name)
    made = changes_figure(changes, names=names)
    for file in made.save(args.figure):
        print(file, file=sys.stderr)
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
