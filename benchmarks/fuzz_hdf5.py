"""Mutated result files: each must be read or refused; none may crash or hang the process that asks for it.

Each file is read from end to end by the examiner that stands before every foreign file, many files a process. A process
that dies or is late is ended, and a new one goes on with the next file. Then the parent opens in its own process all
that came through, and asks the public reader for all that did not.
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xai_framework.core.errors import StoreError
from xai_framework.store import MapFile, foreign
from xai_framework.store.block import Block
from xai_framework.store.moulds import Moulds
from xai_framework.store.reader import survey

Rng = random.Random
_SIGNS = (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF", b"OHDR", b"OCHK", b"FADB")
_NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
LATE = 4.0


def samples(folder: Path) -> list[bytes]:
    """Sound files: few rows and many, one map size and another, as written and repacked with gzip."""
    made = [bytes(Moulds().cast(_block(n, grid), {"cell": "c", "identity": "{}"})) for n, grid in _SIZES]
    path = folder / "repacked.h5"
    path.write_bytes(made[0])
    with h5py.File(path, "r+") as file:
        values = file["attribution"][...]
        del file["attribution"]
        file.create_dataset("attribution", data=values, chunks=(1, *values.shape[1:]), compression="gzip", shuffle=True)
    return [*made, path.read_bytes()]


_SIZES = ((3, (1, 7, 7)), (40, (1, 3, 3)), (2, (3, 16, 16)))


def _block(n: int, grid: tuple[int, int, int]) -> Block:
    rng = np.random.default_rng(n)
    texts = tuple(f"row {i}" for i in range(n))
    return Block(
        ids=texts,
        contents=tuple(f"{i:064x}" for i in range(n)),
        attribution=rng.standard_normal((n, *grid), dtype=np.float32),
        status=np.zeros(n, np.int8),
        reason=("",) * n,
        target=np.arange(n),
        target_name=texts,
        score=np.ones(n, np.float32),
        probability=np.ones(n, np.float32),
        prediction=np.arange(n),
        prediction_name=texts,
        prediction_probability=np.ones(n, np.float32),
        label=("",) * n,
        view=np.tile([0.0, 0.0, 96.0, 96.0], (n, 1)),
        image_size=np.full((n, 2), 96, np.int32),
        input_size=np.full((n, 2), 96, np.int32),
    )


def _bits(data: bytearray, rng: Rng) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _bytes(data: bytearray, rng: Rng) -> None:
    for _ in range(rng.choice((1, 4, 32))):
        data[rng.randrange(len(data))] = rng.randrange(256)


def _cut(data: bytearray, rng: Rng) -> None:
    del data[rng.randrange(len(data)) :]


def _zero(data: bytearray, rng: Rng) -> None:
    size = rng.choice((8, 64, 512, 4096))
    at = rng.randrange(len(data))
    data[at : at + size] = bytes(len(data[at : at + size]))


def _noise(data: bytearray, rng: Rng) -> None:
    size = rng.choice((8, 64, 512))
    at = rng.randrange(len(data))
    data[at : at + size] = rng.randbytes(len(data[at : at + size]))


def _splice(data: bytearray, rng: Rng) -> None:
    """A block of the file put elsewhere over what is there, as lost and doubled writes leave it."""
    size = rng.choice((8, 24, 128, 1024))
    start, at = rng.randrange(len(data)), rng.randrange(len(data))
    block = data[start : start + size]
    data[at : at + len(block)] = block


def _shift(data: bytearray, rng: Rng) -> None:
    """Bytes lost or put in between, so that all addresses behind are wrong."""
    at = rng.randrange(len(data))
    data[at : at + rng.randrange(16)] = rng.randbytes(rng.randrange(16))


def _superblock(data: bytearray, rng: Rng) -> None:
    for _ in range(rng.choice((1, 2, 8))):
        data[rng.randrange(8, 96)] = rng.randrange(256)


def _number(data: bytearray, rng: Rng, around: tuple[int, int] | None = None) -> None:
    """A telling number, or an address within the file, where some number stands."""
    first, last = around or (0, len(data))
    value = rng.choice((*_NUMBERS, rng.randrange(len(data)), rng.randrange(len(data)) & ~7))
    width = rng.choice((1, 2, 4, 8, 8, 8))
    at = rng.randrange(first, max(first + 1, last - width)) & ~(width - 1)
    data[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def _structure(data: bytearray, rng: Rng) -> None:
    """A wrong number in one of HDF5's own structures: trees, heaps, tables of symbols."""
    places = [i for sign in _SIGNS for i in _all(data, sign)]
    at = rng.choice(places)
    for _ in range(rng.choice((1, 1, 3))):
        _number(data, rng, (at + 4, min(at + 128, len(data))))


def _header(data: bytearray, rng: Rng) -> None:
    """A wrong number in the header of a variable: version 1, some messages, 1 reference."""
    places = [i for i in range(0, len(data) - 16, 8) if data[i : i + 2] == b"\x01\x00" and data[i + 4 : i + 8] == _ONE]
    at = rng.choice(places)
    for _ in range(rng.choice((1, 1, 3))):
        _number(data, rng, (at, min(at + 512, len(data))))


_ONE = (1).to_bytes(4, "little")


def _all(data: bytearray, sign: bytes) -> Iterator[int]:
    at = data.find(sign)
    while at >= 0:
        yield at
        at = data.find(sign, at + 1)


MUTATIONS: tuple[Callable[[bytearray, Rng], None], ...] = (
    *(
        _bits,
        _bytes,
        _cut,
        _zero,
        _noise,
        _splice,
        _shift,
        _superblock,
        _number,
        _structure,
        _header,
        _structure,
        _header,
    ),
)


def write_mutants(folder: Path, count: int, seed: int = 0) -> list[tuple[Path, str]]:
    """(file, what was done to it); the same for the same seed."""
    sound = samples(folder)
    out = []
    for i in range(count):
        rng = random.Random(f"{seed}/{i}")
        data, names = bytearray(rng.choice(sound)), []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            mutate = MUTATIONS[i % len(MUTATIONS)] if not names else rng.choice(MUTATIONS)
            if len(data) > 200:
                mutate(data, rng)
                names.append(mutate.__name__.strip("_"))
        path = folder / f"m{i:05d}.h5"
        path.write_bytes(data)
        out.append((path, "+".join(names)))
    return out


class _Reader:
    """A process that reads files, one line asked, one line answered."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, path: Path) -> str:
        """``ok``, ``refused``, ``large`` (wants more memory than is allowed), ``died`` or ``late``."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            answer = process.stdout.readline().strip() if ready.select(LATE) else "late"
        if answer in ("ok", "refused", "large"):
            return answer
        self.close()
        return answer or "died"

    def _start(self) -> subprocess.Popen[str]:
        asked = [sys.executable, "-m", "benchmarks.fuzz_hdf5", "--reader"]
        self._process = subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def read_forever() -> None:
    """What the reading process does: as the examiner does, but for one file after another."""
    foreign.limit(3600)
    for line in sys.stdin:
        try:
            survey(Path(line.strip()))
            answer = "ok"
        except StoreError:
            answer = "refused"
        except MemoryError:
            answer = "large"
        print(answer, flush=True)


def fuzz(files: Sequence[tuple[Path, str]]) -> dict[str, Any]:
    """Counts by answer, and which files the reading process did not survive."""
    counts: Counter[str] = Counter()
    fatal = []
    reader = _Reader()
    try:
        for path, done in files:
            answer = reader.ask(path)
            if answer == "died":
                answer = reader.ask(path)  # alone: whether it was this file and not those before
            counts[answer] += 1
            if answer in ("died", "late"):
                fatal.append(f"{path.name} {done}: {answer}")
            counts[f"parent: {_here(path, answer)}"] += 1
    finally:
        reader.close()
    return {"files": len(files), "counts": dict(counts), "fatal": fatal}


def _here(path: Path, answer: str) -> str:
    """What this process gets: of a sound file its content, of any other an error."""
    try:
        if answer == "ok":
            survey(path)
            return "read"
        # what was refused is refused here too; what is fatal must not be parsed here, which the public reader sees to
        MapFile(path, examined=answer == "refused").close()
    except StoreError:
        return "refused"
    return f"opened what was {answer}"


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the counts here too")
    parser.add_argument("--reader", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.reader:
        read_forever()
        return
    start = time.monotonic()
    foreign.SECONDS = LATE
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(write_mutants(Path(folder), args.files, args.seed))
    counts = found["counts"]
    print(f"{args.files} mutated files in {time.monotonic() - start:.0f} s")
    print(f"examiner: {counts.get('ok', 0)} ok, {counts.get('refused', 0) + counts.get('large', 0)} refused, ", end="")
    print(f"{counts.get('died', 0)} died, {counts.get('late', 0)} timed out")
    print("parent: " + ", ".join(f"{n} {k.removeprefix('parent: ')}" for k, n in counts.items() if "parent" in k))
    print("\n".join(found["fatal"]))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
