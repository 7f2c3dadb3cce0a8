"""``xai table``: which methods differ, by each metric of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from xai_framework.core.errors import ConfigError, did_you_mean

FORMATS = ("text", "markdown", "csv", "latex", "parquet")


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``table`` to the command line."""
    parser = subparsers.add_parser("table", help="a run's metrics: means with intervals, ranks, which methods differ")
    parser.add_argument("path", nargs="?", default="outputs", help="a run's folder (the latest run)")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the output")
    parser.add_argument("--output", metavar="FILE", help="write here instead of printing; needed for parquet")
    parser.add_argument("--metric", help="only this one")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.set_defaults(run=table_command)


def table_command(args: argparse.Namespace) -> int:
    """Print the leaderboard."""
    from xai_framework.cli.upkeep import run_folder
    from xai_framework.statistics import Leaderboard, leaderboard
    from xai_framework.store import open_run, write_atomic

    board = leaderboard(open_run(run_folder(Path(args.path))), args.seed)
    if args.metric is not None:
        names = sorted({c.metric for c in board.comparisons})
        if args.metric not in names:
            raise ConfigError(
                f"no metric {args.metric!r} in this run", where="--metric", fix=did_you_mean(args.metric, names)
            )
        board = Leaderboard(tuple(c for c in board.comparisons if c.metric == args.metric))
    if args.format == "parquet":
        _write_parquet(board, args.output)
        return 0
    if args.format != "text":
        text = {"markdown": board.markdown, "csv": board.csv, "latex": board.latex}[args.format]()
        if args.output:
            write_atomic(Path(args.output), text.encode())
        else:
            print(text, end="")
        return 0
    if args.output:
        raise ConfigError(
            "text is for the screen", where="--output", fix="add --format markdown, csv, latex or parquet"
        )
    _print(board)
    return 0


def _write_parquet(board: Any, output: str | None) -> None:  # noqa: ANN401 - a Leaderboard
    """The same long table as CSV's, with numbers as numbers."""
    from xai_framework.store import write_atomic

    if not output:
        raise ConfigError("parquet is no text", where="--format", fix="add --output FILE.parquet")
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        fix = 'pip install "xai-framework[parquet]", or --format csv'
        raise ConfigError("the package pyarrow is not installed", where="--format parquet", fix=fix) from None
    buffer = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(list(board.rows())), buffer)
    write_atomic(Path(output), buffer.getvalue().to_pybytes())


def _print(board: Any) -> None:  # noqa: ANN401 - a Leaderboard, whose module is imported by the command only
    """For people: one block a comparison."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for c in board.comparisons:
        direction = "higher" if c.higher_is_better else "lower"
        where = ", ".join(part for part in (c.backbone, c.target) if part)
        console.print(f"[bold]{c.metric}[/] ({direction} is better) {where}", highlight=False)
        table = Table(box=None, pad_edge=False)
        table.add_column("method")
        for head in ("rank", "mean", "95 % CI", "valid", "p vs best"):
            table.add_column(head, justify="right")
        for s in c.standings:
            bounds = f"{s.mean.low:.3g} .. {s.mean.high:.3g}"
            p = "" if s.p != s.p else f"{s.p:.2g}"
            table.add_row(s.label, f"{s.rank:.2f}", f"{s.mean.value:.3g}", bounds, f"{s.valid}/{s.images}", p)
        console.print(table)
        console.print(c.words + "\n", highlight=False)
