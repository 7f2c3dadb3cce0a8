"""Shards as bytes. HDF5 takes three times as long to lay a file out as to fill it, so layouts are used again."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np

from xai_framework.store.block import NUMBERS, TEXTS, Block
from xai_framework.store.schema import Grid, characters, create, input_side, width_of

_KEPT = 4
"""Forms that one cell keeps, of some 70 kB each: the last unit is shorter, and its texts may be longer."""


@dataclass(frozen=True)
class _Form:
    """All that decides where things lie in a file, and whatever is in it that is no row's own."""

    rows: int
    grid: Grid
    attributes: tuple[tuple[str, str], ...]
    widths: tuple[tuple[str, int], ...]
    side: tuple[int, int] | None


@dataclass
class _Mould:
    """An earlier file without its maps: its ``size``, and what stands where between them. ``proven``: it was filled
    once with what another shard holds, and gave the bytes that HDF5 gives from nothing.
    """

    size: int
    pieces: list[tuple[int, bytes]]
    proven: bool = False


class Moulds:
    """Makes the shards of one cell."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Form, _Mould | None] = OrderedDict()

    def cast(self, block: Block, attributes: Mapping[str, str]) -> memoryview:
        """A whole file, built in memory: a full disk then costs an error, not a broken file or a crash inside HDF5.

        The same arguments give the same bytes, whatever was made before.
        """
        columns, grid = block.columns, block.attribution.shape[1:]
        # texts in a power of two of bytes: units seldom have texts of the same length, and the form is the same then
        widths = {name: 1 << (width_of(columns[name]) - 1).bit_length() for name in TEXTS}
        side = input_side(columns["input_size"])
        form = _Form(len(block.ids), grid, tuple(attributes.items()), tuple(widths.items()), side)
        mould = self._kept.get(form)
        if mould is not None and mould.proven:
            self._kept.move_to_end(form)
            return _filled(mould, block, columns, widths)
        data = _from_nothing(block, columns, attributes, widths)
        if form not in self._kept:
            self._keep(form, _without_maps(data))
        elif mould is not None:
            self._keep(form, _proven(mould, data, block, columns, widths))
        return data

    def _keep(self, form: _Form, mould: _Mould | None) -> None:
        self._kept[form] = mould
        self._kept.move_to_end(form)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def _from_nothing(
    block: Block, columns: Mapping[str, Any], attributes: Mapping[str, str], widths: Mapping[str, int]
) -> memoryview:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        maps = create(file, columns, block.attribution.shape[1:], attributes, widths)
        maps[...] = block.attribution
    return buffer.getbuffer()


def _without_maps(data: memoryview) -> _Mould:
    with h5py.File(io.BytesIO(data), "r") as file:
        maps = file["attribution"]
        found = [maps.id.get_chunk_info_by_coord((row, 0, 0, 0)) for row in range(len(maps))]
    pieces, at = [], 0
    for start, size in sorted((chunk.byte_offset, chunk.size) for chunk in found):
        if start > at:
            pieces.append((at, bytes(data[at:start])))
        at = start + size
    if at < len(data):
        pieces.append((at, bytes(data[at:])))
    return _Mould(len(data), pieces)


def _proven(
    mould: _Mould, data: memoryview, block: Block, columns: Mapping[str, Any], widths: Mapping[str, int]
) -> _Mould | None:
    """The mould, if it gives these bytes; else None: another version of HDF5 may lay files out in another way, and
    each is made from nothing then.
    """
    try:
        same = np.array_equal(data, _filled(mould, block, columns, widths))
    except (OSError, RuntimeError, ValueError):
        same = False
    return replace(mould, proven=True) if same else None


def _filled(mould: _Mould, block: Block, columns: Mapping[str, Any], widths: Mapping[str, int]) -> memoryview:
    """Every value that is a row's own is written over; HDF5 does it, so checksums are its own too."""
    buffer = io.BytesIO()
    buffer.seek(mould.size - 1)
    buffer.write(b"\0")
    for at, piece in mould.pieces:
        buffer.seek(at)
        buffer.write(piece)
    with h5py.File(buffer, "r+") as file:
        for name, (kind, _) in NUMBERS.items():
            _overwrite(file, name, np.ascontiguousarray(columns[name], kind))
        for name in TEXTS:
            _overwrite(file, name, characters(columns[name], widths[name]))
        _overwrite(file, "attribution", np.ascontiguousarray(block.attribution, "<f4"))
    return buffer.getbuffer()


def _overwrite(file: h5py.File, name: str, values: Any) -> None:  # noqa: ANN401 - any array
    h5py.h5d.open(file.id, name.encode()).write(h5py.h5s.ALL, h5py.h5s.ALL, values)
