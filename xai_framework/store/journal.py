"""What a cell's shards hold, without opening them: one line a shard, appended when it is in place.

The journal is a memory, not the truth: shards name their own checksum, so whatever is lost here can be read from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xai_framework.core.errors import StoreError
from xai_framework.store.atomic import append_line, write_atomic
from xai_framework.store.block import Key
from xai_framework.store.identity import canonical, file_digest
from xai_framework.store.reader import MapFile

NAME_DIGITS = 32
"""A shard's name is this many digits of its sha256."""


@dataclass(frozen=True)
class Entry:
    """One shard: its file's name, sha256 and size in bytes, and the key and status of each of its rows."""

    shard: str
    sha256: str
    size: int
    keys: tuple[Key, ...]
    status: tuple[int, ...]


class Journal:
    """The entries of one cell, in the order in which they were written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entry: Entry) -> None:
        """Add a line. Raises StoreError where the disk refuses."""
        append_line(self.path, _line(entry))

    def replace(self, entries: Iterable[Entry]) -> None:
        """Write the whole journal anew. Raises StoreError where the disk refuses."""
        write_atomic(self.path, b"".join(_line(e) + b"\n" for e in entries))

    def read(self) -> tuple[dict[str, Entry], list[int]]:
        """(entries by shard name, numbers of the lines that are none, as a crash may leave them)."""
        entries: dict[str, Entry] = {}
        torn = []
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=str(self.path)) from None
        for number, line in enumerate(lines, 1):
            if line:
                try:
                    entry = _parsed(line)
                except (ValueError, KeyError, TypeError, RecursionError):
                    torn.append(number)
                else:
                    entries.setdefault(entry.shard, entry)
        return entries, torn


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


def _line(entry: Entry) -> bytes:
    facts = {"shard": entry.shard, "sha256": entry.sha256, "size": entry.size, "n": len(entry.keys)}
    return canonical({**facts, "rows": entry.keys, "status": entry.status}).encode()


def _parsed(line: bytes) -> Entry:
    facts = json.loads(line)
    keys = tuple((str(i), str(c)) for i, c in facts["rows"])
    status = tuple(int(s) for s in facts["status"])
    if not len(keys) == len(status) == facts["n"]:
        raise ValueError("counts differ")
    return Entry(str(facts["shard"]), str(facts["sha256"]), int(facts["size"]), keys, status)
