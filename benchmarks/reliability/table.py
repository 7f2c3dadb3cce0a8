"""The results as a table, on a terminal and in the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.reliability.lab import Result

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- table: made by `make reliability` -->", "<!-- end of table -->"


def markdown(results: Sequence[Result]) -> str:
    """A table of all rows."""
    lines = ["| # | what is done to a run | what must hold | held | measured |", "|---|---|---|---|---|"]
    for r in results:
        cells = (r.number, r.injected, r.promised, f"{r.passed} of {r.cases}", "; ".join(n for n in r.notes if n))
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def printed(results: Sequence[Result]) -> str:
    """The table, then what failed."""
    text = [markdown(results), ""]
    for r in results:
        text += [f"row {r.number} FAILED {f}" for f in r.failures[:20]]
        if len(r.failures) > 20:
            text.append(f"row {r.number}: {len(r.failures)} failures in all")
    cases, passed = sum(r.cases for r in results), sum(r.passed for r in results)
    text.append(f"{passed} of {cases} cases held in {sum(r.seconds for r in results):.0f} s of all rows together")
    return "\n".join(text)


def write(results: Sequence[Result]) -> None:
    """Put the table between the markers of the page; rows that were not run keep their lines."""
    page = PAGE.read_text("utf-8")
    head, _, rest = page.partition(BEGIN)
    old, _, tail = rest.partition(END)
    lines = {line.split("|")[1].strip(): line for line in old.splitlines() if line.startswith("|")}
    lines |= {line.split("|")[1].strip(): line for line in markdown(results).splitlines()}
    order = sorted(lines, key=lambda k: {"#": -2, "---": -1}.get(k, int(k) if k.isdecimal() else 0))
    PAGE.write_text(f"{head}{BEGIN}\n" + "\n".join(lines[k] for k in order) + f"\n{END}{tail}", "utf-8")
