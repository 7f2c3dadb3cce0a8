"""Whose file is it? HDF5 may hang or crash on a damaged or hostile file, so no file is parsed here before it is known.

What the store wrote is known by a checksum beside it: a shard's is its name, a merged file's is in its ``.json``. The
checksum costs half a millisecond a megabyte, once a process. Whatever has none, or no longer has that one, is first
read from end to end in a process of its own, with limits on time and memory; only what came through that is opened.

A checksum tells accidents, not forgers: who forges a whole results folder can forge its checksums too. Such a file
still cannot reach outside itself, but it can keep HDF5 busy; ``open_run(path, examine=True)`` believes no checksum.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from xai_framework.core.errors import StoreError
from xai_framework.store.identity import file_digest

_SHARD = re.compile(r"[0-9a-f]{32}")

SECONDS = 10.0
"""Time to examine a small file; a large one gets a second more for each _BYTES_A_SECOND."""

_BYTES_A_SECOND = 50e6
_MEMORY = 4 << 30
_FIX = "ask for another copy; if it is your own, delete it and run again"
_ASK = "import sys; sys.path.append(sys.argv[2]); from xai_framework.store import foreign; foreign.main(sys.argv[1])"


def sealed(path: Path) -> bool | None:
    """Whether a file has the checksum that the store noted for it; None where none was noted."""
    for _ in range(2):  # a run may replace the file while its checksum is taken
        noted = _noted(path)
        if noted is None:
            return None
        if _digest(*_known_by(path)).startswith(noted):
            return True
    return False


def examine(path: Path) -> None:
    """Raises StoreError for a file that cannot be read from end to end within limits; does so in another process."""
    _examined(*_known_by(path))


def guard(path: Path) -> None:
    """Raises StoreError for a file that is not safe to be opened in this process."""
    if not sealed(path):
        examine(path)


def _noted(path: Path) -> str | None:
    """The checksum, or its first digits, as noted when the file was written."""
    if path.parent.name == "shards":
        return path.stem if _SHARD.fullmatch(path.stem) else None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        mark = json.loads(path.with_suffix(".json").read_text("utf-8"))
        noted = mark.get("sha256") if isinstance(mark, dict) else None
        return noted if isinstance(noted, str) and len(noted) == 64 else None
    return None


_Known = tuple[str, int, int, int]


def _known_by(path: Path) -> _Known:
    """What a file is known by within this process; an edit changes it."""
    try:
        stat = path.stat()
        return str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from None


@lru_cache(maxsize=4096)
def _digest(path: str, *_version: int) -> str:
    return file_digest(Path(path))


@lru_cache(maxsize=4096)
def _examined(path: str, size: int, *_version: int) -> None:
    """Asks another process; a file that passed is not examined twice (a failure is not remembered)."""
    # -P: a file called numpy.py beside a stranger's results is not imported
    asked = [sys.executable, "-P", "-c", _ASK, path, str(Path(__file__).parents[2])]
    seconds = SECONDS + size / _BYTES_A_SECOND
    try:
        done = subprocess.run(asked, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise StoreError(f"keeps HDF5 busy for more than {seconds:.0f} s; refused", where=path, fix=_FIX) from None
    except OSError as error:
        raise StoreError(f"cannot be examined: {error.strerror}", where=path) from None
    try:
        said = json.loads(done.stdout)
        what, fix = str(said["what"]), str(said["fix"])
    except (ValueError, KeyError, TypeError):
        raise StoreError("is damaged so that HDF5 crashes; refused", where=path, fix=_FIX) from None
    if what:
        raise StoreError(what, where=path, fix=fix)


def main(path: str) -> None:
    """Examine a file here, within limits, and print what is wrong with it as JSON."""
    from xai_framework.store.reader import survey

    limit(SECONDS + Path(path).stat().st_size / _BYTES_A_SECOND)
    what = fix = ""
    try:
        survey(Path(path))
    except StoreError as error:
        what, fix = error.what, error.fix
    except MemoryError:
        what, fix = f"needs more than {_MEMORY >> 30} GB of memory; refused", _FIX
    print(json.dumps({"what": what, "fix": fix}))


def limit(seconds: float) -> None:
    """Bound what this process may still use: memory, processor time, and no core file when it crashes."""
    try:
        import resource
    except ImportError:  # no Unix: the time limit of the one who asks must do
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").is_file() else 0
    memory = pages * resource.getpagesize() + _MEMORY
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, int(seconds) + 2),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a stricter limit holds already
            resource.setrlimit(kind, (most, most))
