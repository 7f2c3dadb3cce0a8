"""One cell on disk: shards that are whole or absent, a journal of their checksums, merged files."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xai_framework.core.errors import StoreError
from xai_framework.core.status import Status
from xai_framework.store.atomic import TEMPORARY, append_line, write_atomic
from xai_framework.store.reader import MapFile
from xai_framework.store.schema import Block, canonical, cell_id, file_bytes, variables

Key = tuple[str, str]


class Store:
    """The content-addressed folder that all studies share, ``outputs/store``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def cell(self, backbone: str, method: str, identity: Mapping[str, Any]) -> CellStore:
        """The cell of that identity; nothing is written before its first rows."""
        name = f"{safe_name(method)}-{cell_id(identity)[:12]}"
        return CellStore(self.root / safe_name(backbone) / name, identity)


def safe_name(text: str) -> str:
    """A folder name made of any text."""
    return re.sub(r"[^A-Za-z0-9_.+=-]", "_", text).lstrip(".")[:80] or "_"


def open_cell(folder: str | Path) -> CellStore:
    """A cell by its folder. Raises StoreError where it is none."""
    file = Path(folder) / "cell.json"
    try:
        identity = json.loads(file.read_text("utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError("is no cell, or its cell.json is damaged", where=str(folder)) from None
    return CellStore(Path(folder), identity)


@dataclass(frozen=True)
class Problem:
    """Something :meth:`CellStore.verify` found."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


class CellStore:
    """The stored rows of one cell. Rows are found by (id, content); several processes may write at once."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path, self.identity = path, dict(identity)
        self.id = cell_id(identity)

    @property
    def _shards(self) -> Path:
        return self.path / "shards"

    @property
    def _journal(self) -> Path:
        return self.path / "journal.jsonl"

    def write(self, block: Block, attributes: Mapping[str, str], volatile: Mapping[str, Any]) -> Path:
        """Store one unit's rows: whole file first, then its line in the journal.

        ``attributes`` go into the file; ``volatile`` facts (host, seconds, device, ...) beside it, so that equal
        results are equal bytes. Raises StoreError where the disk refuses.
        """
        self._create()
        facts = {"cell": self.id, "identity": canonical(self.identity), **attributes}
        data = file_bytes(variables(block), block.attribution, facts)
        name = hashlib.sha256(canonical(block.keys).encode()).hexdigest()[:20]
        path = self._shards / f"{name}.h5"
        write_atomic(path.with_suffix(".json"), canonical({**volatile}).encode())
        write_atomic(path, data)
        entry = {"shard": path.name, "sha256": hashlib.sha256(data).hexdigest(), "rows": block.keys}
        append_line(self._journal, canonical(entry).encode())
        self.__dict__.pop("_entries", None)
        return path

    def rows(self) -> dict[Key, str]:
        """(id, content) -> shard name, of all shards on disk; a shard the journal does not know is opened."""
        present = {p.name for p in self._shards.glob("*.h5") if not p.name.startswith(TEMPORARY)}
        found: dict[Key, str] = {}
        for name in sorted(present):
            entry = self._entries.get(name)
            keys = [(str(i), str(c)) for i, c in entry["rows"]] if entry else self._opened_keys(name)
            found |= dict.fromkeys(keys, name)
        return found

    def failures(self, keys: Sequence[Key]) -> list[tuple[str, str]]:
        """(id, reason) of the given rows that failed."""
        found = []
        for name, wanted in self._by_shard(keys).items():
            with MapFile(self._shards / name) as file:
                status, reason = file.columns["status"], file.columns["reason"]
                found += [
                    (key[0], reason[i])
                    for i, key in enumerate(file.keys)
                    if key in wanted and status[i] == Status.failed
                ]
        return found

    def counts(self, keys: Sequence[Key]) -> dict[str, int]:
        """How many of the given rows have which status."""
        counted: Counter[str] = Counter()
        for name, wanted in self._by_shard(keys).items():
            with MapFile(self._shards / name) as file:
                counted.update(
                    Status(int(s)).name for k, s in zip(file.keys, file.columns["status"], strict=True) if k in wanted
                )
        return dict(counted)

    def merge(self, keys: Sequence[Key], name: str) -> Path:
        """One file with these rows in this order, maps copied chunk by chunk; the same bytes however they were cut.

        An up-to-date file is left as it is. Raises StoreError where rows are missing or grids differ.
        """
        path = self.path / f"maps-{safe_name(name)}.h5"
        where = self.rows()
        missing = [k for k in keys if k not in where]
        if missing:
            raise StoreError(f"{len(missing)} rows are missing, e.g. {missing[0][0]!r}", where=str(self.path))
        used = {n: self._checksum(n) for n in sorted({where[k] for k in keys})}
        source = hashlib.sha256(canonical([keys, sorted(used.items())]).encode()).hexdigest()
        mark = path.with_suffix(".json")
        try:
            if path.is_file() and json.loads(mark.read_text("utf-8")).get("source") == source:
                return path
        except (OSError, ValueError):
            pass  # no mark, or a torn one: merge again
        data = self._merged(keys, where)
        write_atomic(path, data)
        write_atomic(mark, canonical({"source": source, "sha256": hashlib.sha256(data).hexdigest()}).encode())
        return path

    def verify(self) -> list[Problem]:
        """Everything that is wrong with this cell; empty where all is well."""
        problems = [Problem(p.name, "left over from an interrupted write") for p in self.path.rglob(f"{TEMPORARY}*")]
        if cell_id(self.identity)[:12] != self.path.name.rsplit("-", 1)[-1]:
            problems.append(Problem("cell.json", "does not belong to this folder"))
        present = {p.name for p in self._shards.glob("*.h5") if not p.name.startswith(TEMPORARY)}
        problems += [Problem(n, "is in the journal, but not on disk") for n in self._entries if n not in present]
        for name in sorted(present):
            entry = self._entries.get(name)
            if entry is None:
                problems.append(Problem(name, "is not in the journal; its checksum is unknown"))
            elif entry["sha256"] != _digest(self._shards / name):
                problems.append(Problem(name, "does not match its checksum"))
            problems += self._read_through(self._shards / name)
        for path in sorted(self.path.glob("maps-*.h5")):
            mark = path.with_suffix(".json")
            try:
                known = json.loads(mark.read_text("utf-8")).get("sha256")
            except (OSError, ValueError):
                known = None
            if known != _digest(path):
                problems.append(Problem(path.name, "does not match its checksum"))
        return problems

    def _create(self) -> None:
        file = self.path / "cell.json"
        if not file.is_file():
            write_atomic(file, canonical({"id": self.id, "identity": self.identity}).encode())
        elif json.loads(file.read_text("utf-8")).get("id") != self.id:
            raise StoreError("belongs to another cell", where=str(self.path), fix="move it away and run again")
        self._shards.mkdir(parents=True, exist_ok=True)

    @cached_property
    def _entries(self) -> dict[str, dict[str, Any]]:
        """The journal by shard name, last line first in rank; torn lines are passed over."""
        found: dict[str, dict[str, Any]] = {}
        try:
            lines = self._journal.read_bytes().splitlines()
        except OSError:
            return found
        for line in lines:
            try:
                entry = json.loads(line)
                found[entry["shard"]] = {"sha256": entry["sha256"], "rows": entry["rows"]}
            except (ValueError, KeyError, TypeError):
                continue  # torn by a crash: the shard itself is asked instead
        return found

    def _opened_keys(self, name: str) -> list[Key]:
        try:
            with MapFile(self._shards / name) as file:
                return file.keys if file.attributes.get("cell") == self.id else []
        except StoreError:
            return []  # damaged and unknown to the journal: computed again, and named by verify

    def _by_shard(self, keys: Sequence[Key]) -> dict[str, set[Key]]:
        where = self.rows()
        grouped: dict[str, set[Key]] = {}
        for key in keys:
            if key in where:
                grouped.setdefault(where[key], set()).add(key)
        return grouped

    def _checksum(self, name: str) -> str:
        entry = self._entries.get(name)
        return str(entry["sha256"]) if entry else _digest(self._shards / name)

    def _merged(self, keys: Sequence[Key], where: Mapping[Key, str]) -> bytes:
        files = {n: MapFile(self._shards / n) for n in sorted({where[k] for k in keys})}
        try:
            for name, file in files.items():
                if self._checksum(name) != _digest(file.path):
                    raise StoreError("does not match its checksum", where=str(file.path), fix="delete it and run again")
            at = {n: {k: i for i, k in enumerate(f.keys)} for n, f in files.items()}
            places = [(files[where[k]], at[where[k]][k]) for k in keys]
            # a shard in which no row has a map holds 1x1x1 placeholders; the others say what the grid is
            grids = {f.attribution.shape[1:] for f in files.values()}
            real = {f.attribution.shape[1:] for f in files.values() if has_maps(f)} or grids
            if len(real) > 1:
                raise StoreError(f"shards hold maps of different sizes {sorted(real)}", where=str(self.path))
            grid = real.pop()
            blank = (0, _raw(np.full(grid, np.nan, np.float32)))
            chunks = [f.chunk(i) if f.attribution.shape[1:] == grid else blank for f, i in places]
            first = next(iter(files.values()))
            columns = {
                n: [f.columns[n][i] for f, i in places]
                if isinstance(first.columns[n], list)
                else np.stack([f.columns[n][i] for f, i in places])
                for n in first.columns
            }
            attributes = {k: v for k, v in places[0][0].attributes.items() if k not in ("Conventions", "schema")}
            return file_bytes(columns, (chunks, grid), attributes)
        finally:
            for file in files.values():
                file.close()

    def _read_through(self, path: Path) -> list[Problem]:
        try:
            with MapFile(path) as file:
                if file.attributes.get("cell") != self.id:
                    return [Problem(path.name, "belongs to another cell")]
                for row in file:
                    del row
        except StoreError as error:
            return [Problem(path.name, error.what)]
        return []


def has_maps(file: MapFile) -> bool:
    """Whether any row of a file has a map."""
    return bool(np.isin(file.columns["status"], (Status.ok, Status.zero)).any()) or file.attribution.shape[1:] != (
        1,
        1,
        1,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _raw(values: np.ndarray[Any, Any]) -> bytes:
    """A chunk as it lies in the file: the values and their Fletcher-32 checksum."""
    data = values.astype("<f4").tobytes()
    return data + fletcher32(data).to_bytes(4, "little")


def fletcher32(data: bytes) -> int:
    """The checksum HDF5's filter appends (big-endian 16-bit words, sums modulo 65535)."""
    words = np.frombuffer(data, dtype=">u2").astype(np.uint64)
    first = second = 0
    for k in range(0, len(words), 360):
        part = words[k : k + 360]
        sums = np.cumsum(part) + np.uint64(first)
        first = int(sums[-1])
        second += int(sums.sum())
        first = (first & 0xFFFF) + (first >> 16)
        second = (second & 0xFFFF) + (second >> 16)
    first = (first & 0xFFFF) + (first >> 16)
    second = (second & 0xFFFF) + (second >> 16)
    return (second << 16) | first
