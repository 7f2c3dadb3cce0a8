"""``xai table``: which methods differ, by each metric of a run; how stable that is; whether the metrics agree."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from xai_framework.statistics import Agreement, Leaderboard, PairedBoard, Stability

Rows = list[tuple[str, ...]]
FORMATS = ("text", "markdown", "csv", "latex", "parquet")


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``table`` to the command line."""
    parser = subparsers.add_parser("table", help="a run's metrics: means with intervals, ranks, which methods differ")
    parser.add_argument("path", nargs="?", default="outputs", help="a run's folder (the latest run)")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the output")
    parser.add_argument("--output", metavar="FILE", help="write here instead of printing; needed for parquet")
    parser.add_argument("--metric", help="only this one")
    view = parser.add_mutually_exclusive_group()
    view.add_argument("--stability", action="store_true", help="would other images, fewer, or another seed rank alike?")
    view.add_argument("--against", metavar="BACKBONE", help="the other backbones compared with this one, by method")
    view.add_argument("--agreement", action="store_true", help="do the metrics rank the methods alike?")
    parser.add_argument("--seed", type=int, default=0, help="of the samples that --stability draws")
    parser.set_defaults(run=table_command)


def table_command(args: argparse.Namespace) -> int:
    """Print the leaderboard, or one of the other views."""
    from xai_framework.cli.upkeep import run_folder
    from xai_framework.statistics import Leaderboard, PairedBoard, leaderboard, paired_comparisons, stability
    from xai_framework.store import open_run, write_atomic

    run = open_run(run_folder(Path(args.path)))
    board = leaderboard(run)
    if args.metric is not None:
        names = sorted({c.metric for c in board.comparisons})
        if args.metric not in names:
            raise ConfigError(
                f"no metric {args.metric!r} in this run", where="--metric", fix=did_you_mean(args.metric, names)
            )
        board = Leaderboard(tuple(c for c in board.comparisons if c.metric == args.metric))
    if args.agreement or args.stability:
        if args.output or args.format == "parquet":
            raise ConfigError("is for the leaderboard alone", where="--output" if args.output else "--format parquet")
        if args.agreement:
            _print_agreement(board.agreement(), args.format)
        else:
            for comparison in board.comparisons:
                _print_stability(stability(comparison, seed=args.seed), args.format)
        return 0
    pairs = PairedBoard(tuple(c for c in paired_comparisons(run, args.against) if args.metric in (None, c.metric)))
    shown = pairs if args.against else board
    if args.format == "parquet":
        _write_parquet(list(shown.rows()), args.output)
        return 0
    if args.format != "text":
        text = {"markdown": shown.markdown, "csv": shown.csv, "latex": shown.latex}[args.format]()
        if args.output:
            write_atomic(Path(args.output), text.encode())
        else:
            print(text, end="")
        return 0
    if args.output:
        raise ConfigError(
            "text is for the screen", where="--output", fix="add --format markdown, csv, latex or parquet"
        )
    if args.against:
        _print_pairs(pairs)
    else:
        _print(board)
        _print_summaries(pairs)
    return 0


def _write_parquet(rows: list[dict[str, Any]], output: str | None) -> None:
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
    parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    write_atomic(Path(output), buffer.getvalue().to_pybytes())


def _print(board: Leaderboard) -> None:
    """For people: one block a comparison."""
    from xai_framework.statistics.leaderboard import name_of

    head = ("method", "rank", "mean", "95 % CI", "valid", "p vs best", "passes", "seconds")
    for c in board.comparisons:
        rows: Rows = []
        for s in c.standings:
            bounds = f"{s.mean.low:.3g} .. {s.mean.high:.3g}" if s.mean.low == s.mean.low else ""
            p = "" if s.p != s.p else f"{s.p:.2g}"
            rank = "" if s.rank != s.rank else f"{s.rank:.2f}"
            cost = ("", "") if s.cost is None else (f"{s.cost.passes:.4g}", f"{s.cost.seconds:.2g}")
            rows.append((name_of(s), rank, _short(s.mean.value), bounds, f"{s.valid}/{s.images}", p, *cost))
        _show(f"{c.metric} ({c.direction}) {c.where}", head, rows, "text")
        _say(c.words, "text")


def _print_pairs(board: PairedBoard) -> None:
    """Two backbones, method by method: one block a metric."""
    from xai_framework.statistics.paired_board import cells, heads

    for c in board.comparisons:
        _show(f"{c.metric}, {c.where}", heads(c), [tuple(cells(p)) for p in c.pairs], "text")
        _say(c.words, "text")


def _print_summaries(board: PairedBoard) -> None:
    """Backbones and their controls: one block for two of them, all metrics in it."""
    from xai_framework.statistics.paired_board import MARKS

    for s in board.summaries():
        rows = [(label, *found) for label, found in s.cells.items()]
        _show(f"{s.where}: {MARKS}", ("method", *s.metrics), rows, "text")


def _print_stability(found: Stability, how: str) -> None:
    from xai_framework.statistics.leaderboard import name_of

    title = f"{found.metric}: {found.where}, {found.images} images"
    places: Rows = [
        (name_of(p), str(p.place), f"{p.kept:.0%}", f"{p.first:.0%}", _span(str(p.low), str(p.high)))
        for p in found.places
    ]
    _show(f"{title}, drawn again", ("method", "place", "keeps it", "first", "95 % of places"), places, how)
    samples: Rows = [
        (str(s.images), f"{s.tau:.2f}", _span(f"{s.low:.2f}", f"{s.high:.2f}"), f"{s.same_first:.0%}")
        for s in found.samples
    ]
    if samples:
        _show(f"{title}, a part of them", ("images", "tau to all", "95 % of draws", "same first"), samples, how)
    seeds: Rows = [
        (s.label, " ".join(map(str, s.seeds)), *map(_short, (s.mean, s.of_means, s.standard_error, s.of_image)))
        for s in found.seeds
    ]
    if seeds:
        head = ("method", "seeds", "mean", "sd of means over seeds", "error over images", "sd of an image over seeds")
        _show(f"{title}, other seeds", head, seeds, how)
    _say(found.words, how)


def _short(value: float) -> str:
    return "" if value != value else f"{value:.3g}"


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} .. {high}"


def _print_agreement(found: Agreement, how: str) -> None:
    rows: Rows = [
        (name, *("" if (t := found.tau(name, other)) != t else f"{t:.2f}" for other in found.metrics))
        for name in found.metrics
    ]
    _show("Kendall's tau between the rankings of methods", ("metric", *found.metrics), rows, how)
    _say(found.words, how)


def _say(words: str, how: str) -> None:
    """A sentence below a table; a comment where the table is for programs."""
    if how == "text":
        from rich.console import Console

        Console().print(words + "\n", highlight=False, markup=False)
    elif how != "csv":
        print(f"% {words}\n" if how == "latex" else f"\n{words}.\n")


def _show(title: str, head: Sequence[str], rows: Rows, how: str) -> None:
    """One table in the asked-for form."""
    if how == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([("table", *head), *((title, *row) for row in rows)])
        print(text.getvalue(), end="")
    elif how == "markdown":
        print(f"## {title}\n\n| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}")
        for row in rows:
            print(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
    elif how == "latex":
        print(f"% {title}\n\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n\\toprule")
        for i, row in enumerate([tuple(head), *rows]):
            print(" & ".join(_latex(cell) for cell in row) + " \\\\" + ("\n\\midrule" if not i else ""))
        print("\\bottomrule\n\\end{tabular}")
    else:
        _show_text(title, head, rows)


def _latex(cell: str) -> str:
    return "".join(f"\\{c}" if c in "_&%#$" else c for c in cell)


def _show_text(title: str, head: Sequence[str], rows: Rows) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(title, style="bold"))
    table = Table(box=None, pad_edge=False)
    table.add_column(head[0])
    for name in head[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*map(Text, row))
    # columns that wrap cannot be read: rather lines that are too long
    Console(width=max(console.width, Console(width=10_000).measure(table).maximum)).print(table)
