"""Pictures listed in a table, with labels, boxes and masks."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from xai_framework.core import (
    Box,
    ConfigError,
    Dataset,
    File,
    ImageError,
    Item,
    Label,
    Region,
    Row,
    did_you_mean,
    open_image,
    param,
)
from xai_plugins.datasets._files import existing, fingerprint, row_of

LARGEST = 256 << 20
TABLES = (".csv", ".tsv", ".json", ".jsonl")


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    id: str
    path: Path
    label: Label
    regions: tuple[Region, ...]
    mask: Path | None


@dataclass(frozen=True)
class Manifest(Dataset):
    """A CSV file (comma, semicolon or tab) or JSON lines with the columns path, and optionally id, label, boxes, mask.

    ``label`` is a class index or name. ``boxes`` is JSON: [[x0,y0,x1,y1], ...], each optionally followed by its class;
    a single box may stand in columns x0 y0 x1 y1. ``mask`` is a picture of the same size, bright where the object is.
    Paths are relative to ``root``, by default the table's folder, and must stay inside it.
    """

    path: File = param(doc="the table, .csv, .tsv, .json or .jsonl")
    root: str | None = param(None, doc="folder that paths are relative to")
    column_path: str = param("path", doc="name of the column with the picture's path")
    column_label: str = param("label", doc="name of the column with the label")
    limit: int | None = param(None, ge=1, doc="only the first so many pictures")

    @classmethod
    def example(cls) -> Self:
        """Any table."""
        return cls(path=File("table.csv"))

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        table = existing(self.path, "dataset.path", TABLES)
        root = existing(self.root, "dataset.root", folder=True) if self.root else table.parent
        entries: list[Entry] = []
        lines: dict[str, int] = {}
        for number, values in _read(table, self.column_path):
            entry = self._entry(values, root, f"{table}:{number}")
            if entry.id in lines:
                raise ConfigError(f"id {entry.id!r} stands on lines {lines[entry.id]} and {number}", where=str(table))
            lines[entry.id] = number
            entries.append(entry)
        if not entries:
            raise ConfigError("lists no pictures", where=str(table))
        return tuple(entries[: self.limit])

    def _entry(self, values: Mapping[str, Any], root: Path, where: str) -> Entry:
        path = _inside(root, str(values.get(self.column_path) or ""), where)
        label = _label(values.get(self.column_label))
        boxes = _boxes(values, where)
        mask = values.get("mask")
        name = str(values.get("id") or values[self.column_path])
        regions = tuple(Region(_label(b[4]) if len(b) > 4 else label, _box(b, where)) for b in boxes)
        return Entry(name, path, label, regions, _inside(root, str(mask), where) if mask else None)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Item:
        entry = self._entries[index]
        image = open_image(entry.path, id=entry.id)
        for region in entry.regions:
            box = region.box
            if box and (box[0] < 0 or box[1] < 0 or box[2] > image.width or box[3] > image.height):
                raise ImageError(f"box {list(box)} reaches beyond {image.width}x{image.height}", where=entry.id)
        regions = entry.regions
        if entry.mask is not None:
            mask = np.asarray(open_image(entry.mask, id=f"mask of {entry.id}").convert("L")) >= 128
            if mask.shape != (image.height, image.width):
                raise ImageError(f"mask is {mask.shape[1]}x{mask.shape[0]}, not the picture's size", where=entry.id)
            regions = (*regions, Region(entry.label, None, mask))
        # its content is looked at last: a picture that is replaced meanwhile has another
        return Item(entry.id, image, entry.label, regions, row_of(entry.id, entry.path).content)

    def rows(self) -> Iterator[Row]:
        """Identified by the pictures' bytes; labels are taken from the table each time."""
        return (row_of(e.id, e.path, e.label) for e in self._entries)

    def fingerprint(self) -> str:
        """The table's content, and the pictures' names, sizes and times."""
        return fingerprint(((e.id, e.path) for e in self._entries), repr([e.label for e in self._entries]))


def _read(table: Path, needed: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, values) of each row. Raises ConfigError naming file and line."""
    if table.stat().st_size > LARGEST:
        raise ConfigError(f"has more than {LARGEST} bytes", where=str(table))
    try:
        text = table.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text ({error.reason})", where=str(table)) from None
    if "\x00" in text:
        raise ConfigError("holds NUL characters", where=str(table))
    if table.suffix in (".json", ".jsonl"):
        yield from _read_json(text, table, needed)
        return
    head = text.splitlines()[0] if text else ""
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter)
    columns = [c.strip() for c in reader.fieldnames or ()]
    reader.fieldnames = columns
    if needed not in columns:
        raise ConfigError(f"has no column {needed!r}", where=f"{table}:1", fix=did_you_mean(needed, columns))
    for values in reader:
        yield reader.line_num, {k: v for k, v in values.items() if k}


def _read_json(text: str, table: Path, needed: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"is no JSON ({error})", where=f"{table}:{number}") from None
        if not isinstance(values, dict) or needed not in values:
            raise ConfigError(f"is no object with {needed!r}", where=f"{table}:{number}")
        yield number, values


def _inside(root: Path, name: str, where: str) -> Path:
    if not name:
        raise ConfigError("no path", where=where)
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"{name!r} lies outside {root}", where=where, fix="set dataset.root to the pictures' folder")
    return path


def _label(value: object) -> Label:
    if value is None or value == "":
        return None
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() else text


def _boxes(values: Mapping[str, Any], where: str) -> list[list[Any]]:
    given = values.get("boxes")
    if given in (None, ""):
        corners = [values.get(k) for k in ("x0", "y0", "x1", "y1")]
        return [corners] if all(c not in (None, "") for c in corners) else []
    try:
        boxes = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        raise ConfigError(f"boxes {given!r} are no JSON list", where=where, fix="[[x0,y0,x1,y1], ...]") from None
    if not isinstance(boxes, list) or not all(isinstance(b, list) and len(b) in (4, 5) for b in boxes):
        raise ConfigError(f"boxes {given!r} are no list of boxes", where=where, fix="[[x0,y0,x1,y1], ...]")
    return boxes


def _box(values: list[Any], where: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(v) for v in values[:4])
    except (TypeError, ValueError):
        raise ConfigError(f"box {values[:4]} is not four numbers", where=where) from None
    if not all(math.isfinite(v) for v in (x0, y0, x1, y1)) or x1 <= x0 or y1 <= y0:
        raise ConfigError(f"box {values[:4]} is empty or not finite", where=where, fix="x0 < x1 and y0 < y1")
    return x0, y0, x1, y1
