"""Telling other processes what one is working on, so that two runs in one folder do not do the same work twice.

Nothing depends on a claim: results are named by their content, and work done twice is stored once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import warnings
from pathlib import Path


class Claims:
    """Claims on pieces of work in one folder, held by this process until it gives them back, or ends in any way.

    A claim is a lock on one byte of a file, at an offset made of the piece's name: there is nothing to clean up after a
    crash, clocks do not matter, and network file systems that lock at all lock between machines. Where locks are not to
    be had, everything can be claimed, which is said once.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "claims.lock"
        self._handle: int | None = None
        self._works = sys.platform != "win32"

    def take(self, name: str) -> bool:
        """Claim a piece of work; False where another process holds it. A piece of one's own may be taken again."""
        return self._lock(name, "lock")

    def give_back(self, name: str) -> None:
        """Let others have it."""
        if self._handle is not None:
            self._lock(name, "unlock")

    def close(self) -> None:
        """Give back everything."""
        if self._handle is not None:
            with contextlib.suppress(OSError):  # a claim is given back all the same
                os.close(self._handle)
            self._handle = None

    def _lock(self, name: str, how: str) -> bool:
        if not self._works:
            return True
        import fcntl

        offset = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        kind = fcntl.LOCK_EX | fcntl.LOCK_NB if how == "lock" else fcntl.LOCK_UN
        try:
            if self._handle is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            # not flock: that knows whole files only, and some network file systems keep it to one machine
            fcntl.lockf(self._handle, kind, 1, offset)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES) and self._handle is not None:
                return False
            self._works = False  # whatever the reason: if the disk refuses results too, the store says so
            warnings.warn(
                f"{self._path}: files cannot be locked here ({error.strerror}); runs at the same time in this folder "
                "may do some work twice, which costs time only",
                stacklevel=2,
            )
        return True
