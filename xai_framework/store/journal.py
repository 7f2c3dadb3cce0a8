"""What a cell's shards hold, without opening them: one line a shard, appended when it is in place.

The journal is a memory, not the truth: shards name their own checksum, so whatever is lost here can be read from them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xai_framework.core.errors import StoreError
from xai_framework.store.atomic import append_line, write_atomic
from xai_framework.store.block import Key
from xai_framework.store.identity import canonical, file_digest
from xai_framework.store.reader import MapFile

NAME_DIGITS = 32
"""A shard's name is this many digits of its sha256."""


class RowLists:
    """Lists of rows by their checksum. Cells of one dataset share them, so each is kept once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Key, ...]] = {}

    def add(self, keys: Sequence[Key]) -> str:
        """The checksum of a list, which is known from now on."""
        name = rows_digest(keys)
        self._known.setdefault(name, tuple(keys))
        return name

    def get(self, name: str) -> tuple[Key, ...] | None:
        """The list of that checksum, None where it is not known here."""
        return self._known.get(name)


def rows_digest(keys: Sequence[Key]) -> str:
    """What names a list of rows."""
    return hashlib.sha256(canonical([list(k) for k in keys]).encode()).hexdigest()[:NAME_DIGITS]


@dataclass(frozen=True)
class Entry:
    """One shard: its file's name, sha256 and size in bytes, and the key and status of each of its rows."""

    shard: str
    sha256: str
    size: int
    keys: tuple[Key, ...]
    status: tuple[int, ...]


class Line(NamedTuple):
    """A journal's line as it stands: ``rows`` is the checksum of the list of rows, ``status`` a digit for each."""

    shard: str
    sha256: str
    size: int
    rows: str
    status: str


class Journal:
    """The entries of one cell, in the order in which they were written.

    A line is short: it names its rows by a checksum. The lists themselves stand in ``rows.jsonl`` beside the journal,
    which is read only where a list is not known already, as those of the dataset at hand are.
    """

    def __init__(self, path: Path, lists: RowLists | None = None) -> None:
        self.path, self._lists = path, lists or RowLists()

    def append(self, entry: Entry) -> None:
        """Add a line. Raises StoreError where the disk refuses."""
        append_line(self._rows_path, _rows_line(entry.keys))
        append_line(self.path, _line(entry, self._lists.add(entry.keys)))

    def replace(self, entries: Sequence[Entry]) -> None:
        """Write the whole journal anew. Raises StoreError where the disk refuses."""
        write_atomic(self._rows_path, b"".join(_rows_line(e.keys) + b"\n" for e in entries))
        lines = (_line(e, self._lists.add(e.keys)) for e in entries)
        write_atomic(self.path, b"".join(line + b"\n" for line in lines))

    def read(self) -> tuple[dict[str, Entry], list[int]]:
        """(entries by shard name, numbers of the lines that are none, as a crash may leave them)."""
        entries: dict[str, Entry] = {}
        lines, torn = self.lines()
        if any(self._lists.get(line.rows) is None for line in lines):
            self._read_lists()
        for line in lines:
            keys = self._lists.get(line.rows)
            if keys is not None and len(keys) == len(line.status):  # else its shard says itself what it holds
                status = tuple(map(int, line.status))
                entries.setdefault(line.shard, Entry(line.shard, line.sha256, line.size, keys, status))
        return entries, torn

    def lines(self) -> tuple[list[Line], list[int]]:
        """(lines as they stand, numbers of those that are none)."""
        try:
            texts = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=str(self.path)) from None
        filled = [text for text in texts if text]
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            together = json.loads(b"[" + b",".join(filled) + b"]")  # several times faster than one by one
            if len(together) == len(filled):
                return [_line_of(facts) for facts in together], []
        found, torn = [], []
        for number, text in enumerate(texts, 1):
            if text:
                try:
                    found.append(_line_of(json.loads(text)))
                except (ValueError, KeyError, TypeError, RecursionError):
                    torn.append(number)
        return found, torn

    @property
    def _rows_path(self) -> Path:
        return self.path.with_name("rows.jsonl")

    def _read_lists(self) -> None:
        try:
            texts = self._rows_path.read_bytes().split(b"\n")
        except OSError:
            return
        for text in texts:
            with contextlib.suppress(ValueError, TypeError, RecursionError):  # a line torn by a crash
                self._lists.add([(str(i), str(c)) for i, c in json.loads(text)])


class Tail:
    """The lists of rows that are added to a cell's journal behind ``read`` bytes, by this process or others."""

    def __init__(self, path: Path, read: int) -> None:
        self._path, self._read = path, read
        self._rows: set[str] = set()

    def has(self, rows: str) -> bool:
        """Whether a shard of just these rows was added."""
        try:
            size = self._path.stat().st_size
            if size > self._read:
                with self._path.open("rb") as file:
                    file.seek(self._read)
                    whole = file.read().rpartition(b"\n")[0]
                self._read += len(whole)
                for text in whole.split(b"\n"):
                    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                        self._rows.add(_line_of(json.loads(text)).rows)
        except OSError:
            return False
        return rows in self._rows


def entry_of(path: Path, cell: str) -> Entry | None:
    """What a shard itself says; None where it is damaged or of another cell."""
    try:
        digest = file_digest(path)
        if path.stem != digest[:NAME_DIGITS]:
            return None
        with MapFile(path) as file:
            if file.attributes.get("cell") != cell:
                return None
            status = tuple(int(s) for s in file.columns["status"])
            return Entry(path.name, digest, path.stat().st_size, tuple(file.keys), status)
    except (StoreError, OSError):
        return None


def _line(entry: Entry, rows: str) -> bytes:
    line = Line(entry.shard, entry.sha256, entry.size, rows, "".join(map(str, entry.status)))
    return canonical({**line._asdict(), "n": len(entry.keys), "check": _check(line)}).encode()


def _check(line: Line) -> int:
    """A wrong digit would be believed otherwise: a wrong size, for one, keeps a whole shard from ever counting."""
    return zlib.crc32("\n".join(map(str, line)).encode())


def _rows_line(keys: Sequence[Key]) -> bytes:
    return canonical([list(k) for k in keys]).encode()


def _line_of(facts: dict[str, Any]) -> Line:
    line = Line(facts["shard"], facts["sha256"], facts["size"], facts["rows"], facts["status"])
    if not (len(line.status) == facts["n"] and line.status.isdecimal() and isinstance(line.size, int)):
        raise ValueError("is no line")
    if not (isinstance(line.shard, str) and isinstance(line.sha256, str) and isinstance(line.rows, str)):
        raise TypeError("is no line")
    if facts.get("check") not in (None, _check(line)):  # None: written before there was one
        raise ValueError("is damaged")
    return line
