"""``xai table``: which methods differ, by each metric of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from xai_framework.core.errors import ConfigError, did_you_mean


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``table`` to the command line."""
    parser = subparsers.add_parser("table", help="a run's metrics: means with intervals, ranks, which methods differ")
    parser.add_argument("path", nargs="?", default="outputs", help="a run's folder (the latest run)")
    parser.add_argument("--format", choices=("text", "markdown", "csv", "latex"), default="text", help="of the output")
    parser.add_argument("--metric", help="only this one")
    parser.add_argument("--against", metavar="BACKBONE", help="the other backbones compared with this one, by method")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.set_defaults(run=table_command)


def table_command(args: argparse.Namespace) -> int:
    """Print the leaderboard, and trained backbones against their controls; or backbones against one of them."""
    from xai_framework.cli.upkeep import run_folder
    from xai_framework.statistics import Leaderboard, PairedBoard, leaderboard, paired_comparisons
    from xai_framework.store import open_run

    run = open_run(run_folder(Path(args.path)))
    pairs = PairedBoard(_chosen(args.metric, paired_comparisons(run, args.against, args.seed)))
    board = Leaderboard(() if args.against else _chosen(args.metric, leaderboard(run, args.seed).comparisons))
    if args.format == "text":
        _print(board)
        _print_pairs(pairs, whole=args.against is not None)
    else:
        shown = pairs if args.against else board
        print({"markdown": shown.markdown, "csv": shown.csv, "latex": shown.latex}[args.format](), end="")
    return 0


class _OfMetric(Protocol):
    @property
    def metric(self) -> str: ...


_C = TypeVar("_C", bound=_OfMetric)


def _chosen(metric: str | None, comparisons: tuple[_C, ...]) -> tuple[_C, ...]:
    """Those by one metric. Raises ConfigError where there are others only."""
    names = sorted({c.metric for c in comparisons})
    if metric is not None and names and metric not in names:
        raise ConfigError(f"no metric {metric!r} in this run", where="--metric", fix=did_you_mean(metric, names))
    return tuple(c for c in comparisons if metric in (None, c.metric))


def _print(board: Any) -> None:  # noqa: ANN401 - a Leaderboard, whose module is imported by the command only
    """For people: one block a comparison."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    for c in board.comparisons:
        direction = "higher" if c.higher_is_better else "lower"
        console.print(f"[bold]{c.metric}[/] ({direction} is better) {escape(c.where)}", highlight=False)
        rows = [
            (
                s.label,
                f"{s.rank:.2f}",
                f"{s.mean.value:.3g}",
                f"{s.mean.low:.3g} .. {s.mean.high:.3g}",
                f"{s.valid}/{s.images}",
                "" if s.p != s.p else f"{s.p:.2g}",
            )
            for s in c.standings
        ]
        console.print(_grid(("method", "rank", "mean", "95 % CI", "valid", "p vs best"), rows))
        console.print(c.words + "\n", highlight=False, markup=False)


def _print_pairs(board: Any, *, whole: bool) -> None:  # noqa: ANN401 - a PairedBoard
    """``whole``: every comparison with its intervals; else one block for two backbones, all metrics in it."""
    from rich.console import Console
    from rich.markup import escape

    from xai_framework.statistics.paired_board import MARKS, cells, heads

    console = Console()
    for c in board.comparisons if whole else ():
        console.print(f"[bold]{c.metric}[/] {escape(c.where)}", highlight=False)
        console.print(_grid(heads(c), [cells(p) for p in c.pairs]))
        console.print(c.words + "\n", highlight=False, markup=False)
    for s in () if whole else board.summaries():
        console.print(f"[bold]{escape(s.where)}[/]: {escape(MARKS)}", highlight=False)
        console.print(_grid(("method", *s.metrics), [(label, *found) for label, found in s.cells.items()]))
        console.print()


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:  # noqa: ANN401 - rich's Table
    """Names on the left, numbers on the right."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for i, head in enumerate(heads):
        table.add_column(escape(head), justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
