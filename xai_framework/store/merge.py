"""Many shards into one file: maps are copied chunk by chunk as they are stored, so the cut leaves no trace.

Each shard is read once from end to end, for its checksum, and opened once; its maps are copied from where they lie.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from xai_framework.core.errors import StoreError
from xai_framework.store.atomic import stream_atomic
from xai_framework.store.block import Key
from xai_framework.store.damage import damaged
from xai_framework.store.identity import file_digest
from xai_framework.store.reader import Chunk, MapFile
from xai_framework.store.schema import HALVED, RESERVED, Grid, blank_chunk, create

_MOST_OPEN = 32


@dataclass
class _Source:
    """A shard in use: its grid, whether it has any map at all, where each row goes, and where each map lies."""

    path: Path
    grid: Grid
    blank: bool
    goes_to: dict[int, int]
    chunks: list[Chunk]


def merge_shards(path: Path, keys: Sequence[Key], shards: Mapping[Path, str], where: Mapping[Key, Path]) -> None:
    """Write the rows ``keys``, in that order, to ``path``.

    ``shards`` are the files to read with their sha256, ``where`` tells which one has a row. Memory does not grow with
    the maps. Raises StoreError where a shard is damaged or where maps differ in size.
    """
    rows: dict[Path, dict[Key, int]] = {shard: {} for shard in shards}
    for position, key in enumerate(keys):
        rows[where[key]][key] = position
    columns: dict[str, Any] = {}
    attributes: list[dict[str, str]] = []
    sources = []
    for shard, digest in shards.items():
        if file_digest(shard) != digest:
            raise damaged(shard)
        with MapFile(shard, examined=True) as file:  # it is what was written
            sources.append(_source(file, rows[shard]))
            attributes.append(file.attributes)
            _fill(columns, len(keys), file, sources[-1])
    grid = _common_grid(sources)
    needed = len(keys) * (math.prod(grid) * 4 + 512)
    with stream_atomic(path, needed) as stream, h5py.File(stream, "w") as merged, _Open() as files:
        maps = create(merged, columns, grid, _shared(attributes))
        for position, (source, row) in enumerate(_in_order(sources, len(keys))):
            mask, raw = blank_chunk(grid) if source.grid != grid else files.read(source.path, source.chunks[row])
            maps.id.write_direct_chunk((position, 0, 0, 0), raw, mask)
            stream.check()


def _source(file: MapFile, wanted: Mapping[Key, int]) -> _Source:
    at = {key: i for i, key in enumerate(file.keys)}
    if lost := wanted.keys() - at.keys():
        raise StoreError(f"does not hold {min(lost)[0]!r}, as its journal says", where=str(file.path))
    # where no image of a unit could be explained, nothing told the size of a map
    blank = file.grid == (1, 1, 1) and bool(np.isnan(file.attribution[...]).all())
    goes_to = {at[key]: position for key, position in wanted.items()}
    return _Source(file.path, file.grid, blank, goes_to, file.chunks())


def _fill(columns: dict[str, Any], total: int, file: MapFile, source: _Source) -> None:
    """Put the rows of one shard into the columns of all."""
    here, there = list(source.goes_to), list(source.goes_to.values())
    for name, values in file.columns.items():
        if isinstance(values, list):
            texts = columns.setdefault(name, [""] * total)
            for i, k in zip(here, there, strict=True):
                texts[k] = values[i]
        else:
            columns.setdefault(name, np.zeros((total, *values.shape[1:]), values.dtype))[there] = values[here]


def _common_grid(sources: Sequence[_Source]) -> Grid:
    grids = {s.grid: s.path for s in sources if not s.blank} or {s.grid: s.path for s in sources}
    if len(grids) > 1:
        listed = ", ".join(f"{'x'.join(map(str, g))} in {p.name}" for g, p in sorted(grids.items()))
        raise StoreError(
            f"maps differ in size: {listed}",
            where=str(sources[0].path.parent),
            fix="set an exact resize or a crop in the backbone's preprocessing",
        )
    return next(iter(grids))


def _shared(attributes: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all shards that say it agree on, so that the result does not depend on which of them came first."""
    said: dict[str, set[str]] = {}
    for one in attributes:
        for name, value in one.items():
            if name not in RESERVED or name in ("cell", "identity"):
                said.setdefault(name, set()).add(value)
    if halved := said.pop(HALVED, None):
        said[HALVED] = {min(halved, key=int)}
    return {name: next(iter(values)) for name, values in sorted(said.items()) if len(values) == 1}


def _in_order(sources: Sequence[_Source], total: int) -> list[tuple[_Source, int]]:
    """(shard, row in it) of each row of the merged file."""
    found = {position: (s, row) for s in sources for row, position in s.goes_to.items()}
    return [found[k] for k in range(total)]


class _Open:
    """Files by path, of which the least recently used are closed when there are many."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, FileIO] = OrderedDict()

    def read(self, path: Path, chunk: Chunk) -> tuple[int, bytes]:
        """(filter mask, stored bytes) of a map. Raises StoreError where the disk refuses, or the file was cut."""
        try:
            if path not in self._files:
                self._files[path] = FileIO(path)
                if len(self._files) > _MOST_OPEN:
                    self._files.popitem(last=False)[1].close()
            self._files.move_to_end(path)
            self._files[path].seek(chunk.start)
            raw = self._files[path].read(chunk.size)
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from None
        if len(raw) != chunk.size:
            raise damaged(path)
        return chunk.mask, raw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
