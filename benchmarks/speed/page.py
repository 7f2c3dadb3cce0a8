"""The results as tables, on a terminal and in docs/performance.md."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.limit import KINDS, Bare
from benchmarks.speed.peers import versions
from benchmarks.speed.row import Row
from benchmarks.timing import Clock, Spread

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
PARTS = ("machine", "limits", "table")
"""Each stands in the page between comments of its own."""
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
_HEAD = (
    *(
        "work",
        "network",
        "precision",
        "against",
        "goal",
        "faster by",
        "as built",
        "x limit",
        "passes of ours",
        "of theirs",
    ),
    *("ms a picture", "MB", "MB of theirs", "error", "rank corr.", "their best setting; notes"),
)
_KEY = 4
"""The first cells, which say which line it is."""


def machine(clock: Clock) -> str:
    """The kind of processor, how many threads of it, and who takes part; no names of hosts."""
    facts = _processor()
    flags = [f for f in _FLAGS if f in facts.get("flags", facts.get("Features", "")).split()]
    threads = torch.get_num_threads()
    words = [
        facts.get("model name", platform.machine()),
        f"family {facts['cpu family']}" if "cpu family" in facts else "",
        " ".join(flags),
        f"{threads} thread{'s' * (threads > 1)}",
        "wall time" if clock.wall else "process CPU time",
        f"torch {torch.__version__}",
        versions(),
    ]
    return ", ".join(filter(None, words))


def limits_table(gflops: dict[str, float], found: Sequence[Bare]) -> str:
    """A line for each network and precision."""
    speeds = ", ".join(f"{precision} {speed:.0f} GFLOP/s" for precision, speed in gflops.items())
    lines = [f"Products of 2048 x 2048 matrices: {speeds}.", ""]
    lines += ["| network | precision | " + " | ".join(f"{k}, ms a picture | setting" for k in KINDS) + " |"]
    lines += ["|---|---|" + "---:|---|" * len(KINDS)]
    for key in dict.fromkeys((b.network, b.precision) for b in found):
        cells = {b.kind: f"{1000 * b.seconds:.1f} | {b.setting}" for b in found if (b.network, b.precision) == key}
        lines.append(f"| {' | '.join(key)} | " + " | ".join(cells.get(k, "- | -") for k in KINDS) + " |")
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> str:
    """A line a row."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|---|---|---|---|" + "---:|" * (len(_HEAD) - _KEY - 1) + "---|"]
    return "\n".join([*lines, *map(_line, rows)])


def printed(rows: Sequence[Row]) -> str:
    """A short line a row, to show how far it is."""
    lines = []
    for row in rows:
        speed = row.note if row.ratio is None else f"{_spread(row.ratio, 'x')} of {_number(row.goal, '{:g}x')}"
        if row.ratio_as_built is not None:
            speed += f", {_spread(row.ratio_as_built, 'x')} as built"
        limit = "" if row.over_limit is None else f", {_spread(row.over_limit)} over the limit"
        lines.append(f"{row.work}, {row.network}, {row.precision}, {row.peer}: {speed}{limit}")
    return "\n".join(lines)


def write(parts: dict[str, str], whole: bool = False) -> None:
    """Put each part between its comments; lines of the table whose row was not measured stay, unless it is whole."""
    page = PAGE.read_text("utf-8")
    for name, text in parts.items():
        begin, end = f"<!-- {name}: made by `make bench` -->", f"<!-- end of {name} -->"
        head, _, rest = page.partition(begin)
        old, _, tail = rest.partition(end)
        page = f"{head}{begin}\n{_merged(old, text) if name == 'table' and not whole else text}\n{end}{tail}"
    PAGE.write_text(page, "utf-8")


def _merged(old: str, new: str) -> str:
    lines = {tuple(line.split("|")[1 : _KEY + 1]): line for line in (*old.splitlines(), *new.splitlines()) if line}
    return "\n".join(lines.values())


def _line(row: Row) -> str:
    over = "-" if row.over_limit is None else _spread(row.over_limit)
    cells = [
        *(row.work, row.network, row.precision, row.peer or "-"),
        _number(row.goal, "{:g}x"),
        "-" if row.ratio is None else _spread(row.ratio, "x"),
        "-" if row.ratio_as_built is None else _spread(row.ratio_as_built, "x"),
        over,
        "-" if row.forward is None else f"{row.forward:.0f} + {row.backward:.0f}",
        _number(row.peer_forward, "{:.0f}"),
        _number(None if row.ours_s is None else 1000 * row.ours_s, "{:.1f}"),
        _number(row.peak_mb, "{:.0f}"),
        _number(row.peer_peak_mb, "{:.0f}"),
        "-" if row.error is None else f"{row.error:.0e} ({row.against})",
        _number(row.spearman, "{:.4f}"),
        "; ".join(filter(None, [row.setting, row.note])),
    ]
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def _spread(values: Spread, unit: str = "") -> str:
    return f"{values.median:.2f}{unit} ({values.low:.2f} to {values.high:.2f})"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _processor() -> dict[str, str]:
    """What the system says of its first processor."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
