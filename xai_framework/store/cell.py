"""One cell on disk: shards that are whole or absent, a journal of what they hold, merged files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_framework.core.errors import StoreError
from xai_framework.core.status import Status
from xai_framework.store.atomic import place_link, remove, write_atomic
from xai_framework.store.block import Block, Key
from xai_framework.store.cost import COST, summed
from xai_framework.store.damage import damaged
from xai_framework.store.identity import canonical, cell_id, file_digest, safe_name
from xai_framework.store.journal import NAME_DIGITS, Entry, Journal, RowLists, entry_of
from xai_framework.store.merge import merge_shards
from xai_framework.store.moulds import Moulds
from xai_framework.store.reader import MapFile
from xai_framework.store.schema import SCHEMA, check_attributes
from xai_framework.store.verify import Problem, problems_of, repair

_FAILED = str(int(Status.failed))
_HAVE_NO_MAP = (Status.failed, Status.not_applicable)


class Store:
    """The content-addressed folder that all studies share, ``outputs/store``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.lists = RowLists()

    def cell(self, backbone: str, method: str, identity: Mapping[str, Any]) -> CellStore:
        """The cell of that identity; nothing is written before its first rows."""
        name = f"{safe_name(method)}-{cell_id(identity)[:12]}"
        return CellStore(self.root / safe_name(backbone) / name, identity, self.lists)


def open_cell(folder: str | Path) -> CellStore:
    """A cell by its folder. Raises StoreError where it is none, or where its identity was changed."""
    cell = CellStore(Path(folder), _read_identity(Path(folder) / "cell.json")["identity"])
    cell.check_identity()
    return cell


@dataclass(frozen=True)
class Summary:
    """How rows of a cell fared: ``counts`` by status, (id, reason) of the ``failures``."""

    counts: dict[str, int]
    failures: list[tuple[str, str]]


class CellStore:
    """The stored rows of one cell. Rows are found by (id, content); several processes may write at once.

    A shard's name is its checksum, so equal shards are one file, and no two can overwrite each other.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], lists: RowLists | None = None) -> None:
        """``lists`` are the lists of rows that are known already, shared by cells of one dataset."""
        self.path, self.identity = path, dict(identity)
        self.id = cell_id(identity)
        self.lists = lists or RowLists()
        self._moulds = Moulds()

    @property
    def journal_path(self) -> Path:
        """What is known of the shards without opening them."""
        return self.path / "journal.jsonl"

    @property
    def journal(self) -> Journal:
        """See :class:`Journal`."""
        return Journal(self.journal_path, self.lists)

    def check_identity(self) -> None:
        """Raises StoreError where the folder says that it belongs to another cell."""
        file = self.path / "cell.json"
        if file.is_file():
            found = _read_identity(file)
            if found["id"] != self.id or cell_id(found["identity"]) != self.id:
                raise StoreError(
                    "its identity was changed, or is that of another cell",
                    where=str(file),
                    fix="move this folder away and run again",
                )

    def write(self, block: Block, attributes: Mapping[str, str], volatile: Mapping[str, Any]) -> Path:
        """Store one unit's rows: the whole file first, then its line in the journal. On return they are on disk.

        ``attributes`` go into the file; ``volatile`` facts (host, seconds, device, ...) into a .json beside it, so that
        equal results are equal bytes. Raises StoreError where the disk refuses.
        """
        check_attributes(attributes)
        self.check_identity()
        file = self.path / "cell.json"
        if not file.is_file():
            write_atomic(file, canonical({"id": self.id, "identity": self.identity}).encode())
        data = self._moulds.cast(block, {"cell": self.id, "identity": canonical(self.identity), **attributes})
        digest = hashlib.sha256(data).hexdigest()
        path = self.path / "shards" / f"{digest[:NAME_DIGITS]}.h5"
        facts = json.dumps(dict(volatile), sort_keys=True, default=str)
        write_atomic(path.with_suffix(".json"), facts.encode(), durable=False)
        write_atomic(path, data)
        status = tuple(int(s) for s in block.status)
        self.journal.append(Entry(path.name, digest, len(data), tuple(block.keys), status))
        return path

    def rows(self) -> dict[Key, str]:
        """(id, content) -> shard name, of all whole shards on disk.

        A row that stands in two shards counts in the first that has a map of it. A shard the journal does not know is
        checked and added to it; one that is shorter or longer than it was is passed over.
        """
        return {key: entry.shard for key, (entry, _) in self._index().items()}

    @property
    def written(self) -> int:
        """The size of the journal in bytes; 0 where there is none."""
        try:
            return self.journal_path.stat().st_size
        except OSError:
            return 0

    def stored(self, blocks: Mapping[str, slice], keys: Sequence[Key], *, failed: bool = True) -> bytearray:
        """One byte for each of ``keys``, 1 where the row is stored: what :meth:`rows` says, without reading more than
        the journal where shards hold whole ``blocks`` (checksum of a list of rows -> its place in ``keys``).

        Without ``failed``, rows that are stored as failed count as missing.
        """
        mask = bytearray(len(keys))
        sizes = _sizes(self.path / "shards")
        lines, _ = self.journal.lines()
        known = [line for line in lines if sizes.pop(line.shard, -1) == line.size]
        if sizes or any(line.rows not in blocks or (not failed and _FAILED in line.status) for line in known):
            found = self._index()
            wanted = {k for k, (entry, i) in found.items() if failed or entry.status[i] != Status.failed}
            return bytearray(key in wanted for key in keys)
        for line in known:
            place = blocks[line.rows]
            mask[place] = b"\1" * (place.stop - place.start)
        return mask

    def summary(self, keys: Sequence[Key]) -> Summary:
        """How the given rows fared; rows that are not stored are not counted."""
        index = self._index()
        found = {key: index[key] for key in keys if key in index}
        counts = Counter(Status(entry.status[i]).name for entry, i in found.values())
        failed = {k: at for k, at in found.items() if at[0].status[at[1]] == Status.failed}
        reasons: dict[Key, str] = {}
        for shard in {entry.shard for entry, _ in failed.values()}:
            with MapFile(self.path / "shards" / shard) as file:
                reasons |= dict(zip(file.keys, file.columns["reason"], strict=True))
        return Summary(dict(counts), [(key[0], reasons.get(key, "")) for key in failed])

    def failures(self, keys: Sequence[Key]) -> list[tuple[str, str]]:
        """(id, reason) of the given rows that failed."""
        return self.summary(keys).failures

    def merged_path(self, name: str) -> Path:
        """Where :meth:`merge` puts the file of that name."""
        return self.path / f"maps-{safe_name(name)}.h5"

    def merge(self, keys: Sequence[Key], name: str) -> Path:
        """One file ``maps-<name>.h5`` with these rows in this order: the same bytes however the shards were cut.

        An up-to-date file is left as it is. Raises StoreError where rows are missing, shards are damaged or maps
        differ in size.
        """
        path = self.merged_path(name)
        index = self._index()
        missing = [key for key in keys if key not in index]
        if missing or not keys or len(set(keys)) != len(keys):
            what = f"{len(missing)} rows are missing, e.g. {missing[0][0]!r}" if missing else "no rows, or one twice"
            raise StoreError(f"cannot be merged: {what}", where=str(self.path), fix="run the study to its end")
        used = {index[key][0].shard: index[key][0] for key in keys}
        source = _source(keys, used.values())
        mark = self.merged_mark(path)
        if mark and mark.get("source") == source and path.is_file() and path.stat().st_size == mark.get("size"):
            return path
        # first of all, so that a crash never leaves the note of one file beside another
        remove(path.with_suffix(".json"))
        folder = self.path / "shards"
        shards = {folder / e.shard: e.sha256 for e in used.values()}
        merge_shards(path, keys, shards, {key: folder / index[key][0].shard for key in keys})
        facts = {"source": source, "sha256": file_digest(path), "size": path.stat().st_size}
        write_atomic(path.with_suffix(".json"), canonical(facts).encode())
        return path

    def compact(self, *, dry: bool = False) -> int:
        """Let sound merged files stand in for the shards they were made of; returns the bytes that are freed. With
        ``dry`` it only says how many.

        A merged file is a shard as good as any: it takes its place among them under the name of its checksum, by a link
        where the file system has them. Not to be called while a run is writing to this cell.
        """
        current = self._current_files()
        freed, covered = 0, set[Key]()
        for path, merged in sorted(current.items(), key=lambda item: (-len(item[1].keys), item[0])):
            if covered.issuperset(merged.keys):
                continue
            covered.update(merged.keys)
            old = self._replaceable(merged)
            freed += sum(_size(p) for p in old)
            if old and not dry:
                self._replace(path, merged, old)
        if freed and not dry:
            for path, merged in current.items():  # they are still what a merge would give, of other shards now
                facts = {**(self.merged_mark(path) or {}), "source": self.source_of(merged.keys)}
                write_atomic(path.with_suffix(".json"), canonical(facts).encode())
        return freed

    def _current_files(self) -> dict[Path, Entry]:
        """Merged files that are sound and up to date, as shards would be."""
        found = {}
        for path in sorted(self.path.glob("maps-*.h5")):
            mark = self.merged_mark(path)
            if mark is None or mark.get("sha256") != file_digest(path):
                continue
            with MapFile(path) as file:
                keys, status = tuple(file.keys), tuple(int(s) for s in file.columns["status"])
            source = self.source_of(keys)
            if source is not None and mark.get("source") == source:  # else shards know better by now
                name = f"{mark['sha256'][:NAME_DIGITS]}.h5"
                found[path] = Entry(name, str(mark["sha256"]), path.stat().st_size, keys, status)
        return found

    def _replaceable(self, merged: Entry) -> list[Path]:
        """Shards of which every row that counts is in the merged file."""
        covered = set(merged.keys)
        needed = {entry.shard for key, (entry, _) in self._index().items() if key not in covered}
        return [p for name, p in self.shard_files().items() if name != merged.shard and name not in needed]

    def _replace(self, path: Path, merged: Entry, old: Sequence[Path]) -> None:
        place = self.path / "shards" / merged.shard
        if not place.is_file():
            place_link(path, place)
            self.journal.append(merged)
            if took := summed(p.with_suffix(".json") for p in old):
                write_atomic(place.with_suffix(".json"), json.dumps({COST: took}).encode(), durable=False)
        for shard in old:
            remove(shard)
            remove(shard.with_suffix(".json"))
        entries, _ = self.journal.read()
        gone = {p.name for p in old}
        self.journal.replace([e for name, e in entries.items() if name not in gone])

    def adopt(self, other: CellStore) -> int:
        """Take over the shards of the same cell in another store; returns how many were new. Raises StoreError where
        one of them is damaged.
        """
        entries, _ = other.journal.read()
        mine, taken = self.shard_files(), 0
        for name, path in other.shard_files().items():
            entry = entries.get(name) or entry_of(path, other.id)
            if entry is None or file_digest(path) != entry.sha256:
                raise damaged(path)
            if name in mine:
                continue
            if not (self.path / "cell.json").is_file():
                write_atomic(self.path / "cell.json", canonical({"id": self.id, "identity": self.identity}).encode())
            if (note := path.with_suffix(".json")).is_file():
                write_atomic(self.path / "shards" / note.name, note.read_bytes(), durable=False)
            write_atomic(self.path / "shards" / name, path.read_bytes())
            self.journal.append(entry)
            taken += 1
        return taken

    def verify(self) -> list[Problem]:
        """Everything that is wrong with this cell; empty where all is well. Reads every byte."""
        return list(problems_of(self))

    def repair(self) -> list[Problem]:
        """Remove what is damaged; returns what is still wrong. The next run computes only the rows that are gone.

        Not to be called while a run is writing to this cell.
        """
        return repair(self)

    def shard_files(self) -> dict[str, Path]:
        """All shards by name, sound or not."""
        found = (p for p in (self.path / "shards").glob("*.h5") if not p.name.startswith("."))
        return {p.name: p for p in sorted(found)}

    def merged_mark(self, path: Path) -> dict[str, Any] | None:
        """What was noted when a file was merged; None where that is lost."""
        try:
            mark = json.loads(path.with_suffix(".json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return mark if isinstance(mark, dict) else None

    def source_of(self, keys: Sequence[Key]) -> str | None:
        """What a merged file of these rows would be made of now; None where rows are missing."""
        index = self._index()
        if any(key not in index for key in keys):
            return None
        return _source(keys, {index[key][0].shard: index[key][0] for key in keys}.values())

    def _index(self) -> dict[Key, tuple[Entry, int]]:
        """Each stored row -> its shard and its place in it."""
        shards = self.shard_files()
        journal = self.journal
        entries, _ = journal.read()
        whole = [e for name, e in entries.items() if name in shards and _size(shards[name]) == e.size]
        for name in shards.keys() - entries.keys():
            if entry := entry_of(shards[name], self.id):
                whole.append(entry)
                with contextlib.suppress(StoreError):  # a store may be read-only: then it is opened again next time
                    journal.append(entry)
        index: dict[Key, tuple[Entry, int]] = {}
        for entry in whole:
            for i, key in enumerate(entry.keys):
                if key not in index or _better(entry.status[i], index[key][0].status[index[key][1]]):
                    index[key] = entry, i
        return index


def _better(new: int, old: int) -> bool:
    return old in _HAVE_NO_MAP and new not in _HAVE_NO_MAP


def _sizes(folder: Path) -> dict[str, int]:
    """Name and size of every shard."""
    try:
        with os.scandir(folder) as found:
            return {e.name: e.stat().st_size for e in found if e.name.endswith(".h5") and e.name[0] != "."}
    except OSError:
        return {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _source(keys: Sequence[Key], entries: Iterable[Entry]) -> str:
    """One text for what a merged file is made of."""
    made_of = [SCHEMA, keys, sorted(e.sha256 for e in entries)]
    return hashlib.sha256(canonical(made_of).encode()).hexdigest()


def _read_identity(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
        if not isinstance(found["id"], str) or not isinstance(found["identity"], dict):
            raise TypeError
    except FileNotFoundError:
        raise StoreError("is no cell: it has no cell.json", where=str(file.parent)) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise StoreError("is damaged", where=str(file), fix="delete it; the next run writes it again") from None
    return {"id": found["id"], "identity": found["identity"]}
