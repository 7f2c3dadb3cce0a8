"""Which cells of two runs belong together, and why the others do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.store import StoredMaps

CellT = TypeVar("CellT", bound=StoredMaps)


@dataclass(frozen=True)
class Pairs(Generic[CellT]):
    """``pairs`` in the order of the first run; ``left`` are (A or B, cell, why it has no partner)."""

    pairs: tuple[tuple[CellT, CellT], ...]
    left: tuple[tuple[str, CellT, str], ...]


def backbones_of(
    first: Sequence[StoredMaps], second: Sequence[StoredMaps], wanted: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Backbone of the first run -> backbone of the second: the wanted ones and no others; else those of one name; else,
    where each run has one only, these. Raises ConfigError for a wanted one that is not there.
    """
    a, b = (list(dict.fromkeys(str(c.facts.get("backbone", "")) for c in cells)) for cells in (first, second))
    for names, there, side in ((wanted or {}, a, "A"), ((wanted or {}).values(), b, "B")):
        for name in names:
            if name not in there:
                raise ConfigError(f"{side} has no backbone {name!r}", where="backbone", fix=did_you_mean(name, there))
    if wanted:
        return dict(wanted)
    same = {name: name for name in a if name in b}
    return {a[0]: b[0]} if not same and len(a) == len(b) == 1 else same


def paired(
    first: Sequence[CellT], second: Sequence[CellT], backbones: Mapping[str, str], *, only: bool = False
) -> Pairs[CellT]:
    """Cells of the same method label, target, dataset and metric, of paired backbones.

    Datasets that differ belong together where there is one of them on each side: rows are matched one by one anyway.
    ``only``: cells of other backbones were not asked for, and are not told.
    """
    there = {b: a for a, b in backbones.items()}
    groups: dict[tuple[str, ...], tuple[list[CellT], list[CellT]]] = {}
    left: list[tuple[str, CellT, str]] = []
    for side, cells, known in (("A", first, dict(zip(backbones, backbones, strict=True))), ("B", second, there)):
        for cell in cells:
            name = str(cell.facts.get("backbone", ""))
            if name in known:
                groups.setdefault(_key(cell, known[name]), ([], []))[side == "B"].append(cell)
            elif not only:
                left.append((side, cell, f"no backbone of the other run is paired with {name!r}"))
    pairs = []
    for ours, theirs in groups.values():
        found, lone = _by_dataset(ours, theirs)
        pairs += found
        left += lone
    return Pairs(tuple(pairs), tuple(left))


def name_of(cell: StoredMaps) -> str:
    """``pointing_game of gradcam (shapes_vgg, predicted)``."""
    facts = cell.facts
    metric = f"{facts['metric']} of " if "metric" in facts else ""
    where = ", ".join(part for part in (str(facts.get("backbone", "")), str(facts.get("target", ""))) if part)
    return f"{metric}{facts['label']}" + (f" ({where})" if where else "")


def parameters_that_differ(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """``relu: true -> false; layer: last -> features.7``; empty where two configs are the same."""
    if first.get("name") != second.get("name"):  # nothing in their parameters belongs together
        return f"{first.get('name', 'unknown')} -> {second.get('name', 'unknown')}"
    said = []
    for key in dict.fromkeys((*first, *second)):
        a, b = (_text(config[key]) if key in config else "not given" for config in (first, second))
        if a != b:
            said.append(f"{key}: {a} -> {b}")
    return "; ".join(said)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _key(cell: StoredMaps, backbone: str) -> tuple[str, ...]:
    facts = cell.facts
    return backbone, str(facts.get("target", "")), str(facts["label"]), str(facts.get("metric", ""))


def _by_dataset(
    ours: list[CellT], theirs: list[CellT]
) -> tuple[list[tuple[CellT, CellT]], list[tuple[str, CellT, str]]]:
    """Pairs of one key, first by equal cells, then by equal datasets, then the last two that are left."""
    ours, theirs, pairs = list(ours), list(theirs), []
    alike: list[Callable[[CellT, CellT], bool]] = [
        lambda a, b: a.facts.get("id") == b.facts.get("id") and _dataset(a) == _dataset(b),
        lambda a, b: _dataset(a) == _dataset(b),
        lambda a, b: len(ours) == len(theirs) == 1,
    ]
    for test in alike:
        for a in list(ours):
            match = next((b for b in theirs if test(a, b)), None)
            if match is not None:
                pairs.append((a, match))
                ours.remove(a)
                theirs.remove(match)
    return pairs, [
        (side, cell, _why(cell, bool(pairs or others)))
        for side, mine, others in (("A", ours, theirs), ("B", theirs, ours))
        for cell in mine
    ]


def _dataset(cell: StoredMaps) -> str:
    return json.dumps(cell.facts.get("dataset"), sort_keys=True)


def _why(cell: StoredMaps, others: bool) -> str:
    if others:
        return "the other run has it for other datasets"
    what = f"metric {cell.facts['metric']!r} of" if "metric" in cell.facts else "method"
    return f"the other run has no {what} {cell.facts['label']!r} for this backbone and target"
