"""What changed between two runs, as text, as a long table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from xai_framework.statistics.changes import ChangedRow, MapChanges, MetricChange, PairChanges, RunChanges, Spread
from xai_framework.statistics.direction import direction
from xai_framework.statistics.long_table import csv_of
from xai_framework.store import StoredMaps

COLUMNS = (
    *("method_a", "method_b", "backbone_a", "backbone_b", "target_a", "target_b", "what", "n"),
    *("a", "b", "value", "low", "high", "p"),
)
_COUNTS = (
    *("both", "only_first", "only_second", "other_picture", "identical", "changed", "compared"),
    *("predictions", "explained"),
)
_NAMES = {"only_first": "only_in_a", "only_second": "only_in_b", "predictions": "predictions_changed"}
_NAMES |= {"explained": "explained_classes_changed", "both": "rows_in_both"}
_LIKE = {"spearman": "Spearman", "cosine": "cosine", "largest": "largest difference"}


def lines(changes: RunChanges) -> Iterator[str]:
    """For people."""
    yield from changes.notes
    for pair in changes.pairs:
        yield f"{pair.name}: {'differs' if pair.differs else 'the same'}"
        yield from (f"  {note}" for note in pair.notes)
        yield f"  rows: {_rows(pair.maps)}"
        if pair.maps.changed:
            yield f"  maps: {_maps(pair.maps)}"
        for what, count in pair.maps.status.items():
            yield f"  status {what}: {_images(count)}"
        if pair.maps.predictions or pair.maps.explained:
            both = f"predictions changed for {pair.maps.predictions} of {pair.maps.both}"
            yield f"  {both}, explained classes for {pair.maps.explained}"
        yield from (f"  {_metric(m)}" for m in pair.metrics)
        yield from (f"  most changed: {_row(row)}" for row in pair.maps.most_changed)
    for side, name, why in changes.left:
        yield f"only in {side}: {name}: {why}"
    if not changes.pairs:
        yield "nothing of the two belongs together"
    yield _verdict(changes)


def _verdict(changes: RunChanges) -> str:
    if not changes.differs and changes.pairs:
        return f"nothing differs in {_counted(len(changes.pairs), 'pair')} of cells"
    differing = sum(p.differs for p in changes.pairs)
    return f"{differing} of {len(changes.pairs)} pairs of cells differ, {len(changes.left)} have no partner"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _images(n: int) -> str:
    return _counted(n, "image")


def _rows(maps: MapChanges) -> str:
    parts = [f"{maps.both} in both", f"{maps.identical} identical", f"{maps.changed} changed"]
    lone = {"only in A": maps.only_first, "only in B": maps.only_second, "of another picture": maps.other_picture}
    return ", ".join([*parts, *(f"{n} {what}" for what, n in lone.items() if n)])


def _maps(maps: MapChanges) -> str:
    spreads = {name: getattr(maps, key) for key, name in _LIKE.items()}
    said = [f"{name} {spread_text(s)}" for name, s in spreads.items()]
    return f"{'; '.join(said)}; median (range) over {_images(maps.largest.n)}"


def spread_text(s: Spread) -> str:
    """``0.93 (0.41 to 1)``; a dash where it is undefined."""
    return f"{number(s.median)} ({number(s.low)} to {number(s.high)})" if s.n else "-"


def _metric(m: MetricChange) -> str:
    head = f"{m.metric} ({direction(m.higher_is_better, m.judged)}): "
    if m.identical or not m.n:
        return head + m.words
    d = m.difference
    said = (
        f"A {number(m.first)}, B {number(m.second)}, difference {number(d.value)} [{number(d.low)}, {number(d.high)}]"
    )
    return f"{head}{said}, p = {number(m.p)}: {m.words}"


def _row(row: ChangedRow) -> str:
    said = f"{row.id}: Spearman {number(row.likeness.spearman)}, cosine {number(row.likeness.cosine)}"
    for what, (a, b) in (("predicted", row.prediction), ("explained", row.explained)):
        said += f", {what} {a!r} -> {b!r}" if a != b else ""
    return said


def number(value: float) -> str:
    """Three digits, enough of them near 1 to tell 0.9999 from it."""
    if math.isnan(value):
        return "-"
    return f"{value:.6g}" if 0.999 < abs(value) < 1 else f"{value:.3g}"


def rows(changes: RunChanges) -> Iterator[dict[str, Any]]:
    """The long table: one row a pair and quantity."""
    for pair in changes.pairs:
        facts = [(str(c.facts["label"]), *_place(c)) for c in (pair.first, pair.second)]
        cells = [value for both in zip(*facts, strict=True) for value in both]
        for quantity in _quantities(pair):
            yield dict(zip(COLUMNS, (*cells, *quantity), strict=True))


def _place(cell: StoredMaps) -> tuple[str, str]:
    return str(cell.facts.get("backbone", "")), str(cell.facts.get("target", ""))


def _quantities(pair: PairChanges) -> Iterator[tuple[Any, ...]]:
    """(what, n, a, b, value, low, high, p)."""
    nothing = math.nan
    for key in _COUNTS:
        yield _NAMES.get(key, key), pair.maps.both, nothing, nothing, getattr(pair.maps, key), nothing, nothing, nothing
    for key in _LIKE:
        s: Spread = getattr(pair.maps, key)
        yield f"{key}_median", s.n, nothing, nothing, s.median, s.low, s.high, nothing
    for m in pair.metrics:
        d = m.difference
        yield f"{m.metric}_difference", m.n, m.first, m.second, d.value, d.low, d.high, m.p


def to_csv(changes: RunChanges) -> str:
    """The long table as CSV, empty where a number is undefined."""
    return csv_of(COLUMNS, rows(changes))


def to_markdown(changes: RunChanges) -> str:
    """A table of the maps and one of the metrics, and what has no partner."""
    out = [
        "| cells | both | identical | changed | Spearman | cosine | predictions changed |",
        "|---|---|---|---|---|---|---|",
    ]
    for p in changes.pairs:
        m = p.maps
        cells = (_escaped(p.name), m.both, m.identical, m.changed, spread_text(m.spearman), spread_text(m.cosine))
        out.append("| " + " | ".join(map(str, (*cells, m.predictions))) + " |")
    if any(p.metrics for p in changes.pairs):
        out += ["", "| metric | cells | A | B | difference [95 % CI] | p | in words |", "|---|---|---|---|---|---|---|"]
    for p in changes.pairs:
        for c in p.metrics:
            d = c.difference
            interval = f"{number(d.value)} [{number(d.low)}, {number(d.high)}]"
            values = (c.metric, _escaped(p.name), number(c.first), number(c.second), interval, number(c.p), c.words)
            out.append("| " + " | ".join(values) + " |")
    out += ["", *(f"- {note}" for note in changes.notes)]
    out += [f"- only in {side}: {_escaped(name)}: {_escaped(why)}" for side, name, why in changes.left]
    return "\n".join([*out, _verdict(changes), ""])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def to_json(changes: RunChanges) -> dict[str, Any]:
    """Plain values; null where a number is undefined."""
    pairs = [
        {
            "a": _facts(p.first),
            "b": _facts(p.second),
            "differs": p.differs,
            "notes": list(p.notes),
            "maps": {**asdict(p.maps), "changed": p.maps.changed},
            "metrics": [{**asdict(m), "words": m.words} for m in p.metrics],
        }
        for p in changes.pairs
    ]
    left = [{"in": side, "cell": name, "why": why} for side, name, why in changes.left]
    said: dict[str, Any] = _plain(
        {"differs": changes.differs, "notes": list(changes.notes), "pairs": pairs, "without_partner": left}
    )
    return said


def _facts(cell: StoredMaps) -> dict[str, Any]:
    names = ("label", "backbone", "target", "id", "method", "dataset")
    return {name: cell.facts[name] for name in names if name in cell.facts}


def _plain(value: Any) -> Any:  # noqa: ANN401 - anything JSON knows
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
