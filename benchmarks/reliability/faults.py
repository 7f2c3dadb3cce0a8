"""Disks that fail: every call to the disk that concerns a folder is counted, and one or more of them fail or kill."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BY_PATH = ("open", "mkdir", "replace", "rename", "unlink")
_BY_HANDLE = ("write", "fsync", "ftruncate", "close")
_NEW_NAMESPACE = 0x00020000
_READ_ONLY, _REMOUNT, _BIND, _PRIVATE, _RECURSIVE = 1, 32, 4096, 1 << 18, 16384


@dataclass
class Disk:
    """Breaks ``os`` in this process, for calls that concern ``folder`` and what is below it.

    The call number ``at`` fails with ``error``, and with ``forever`` all after it; where ``kill`` is set the process
    dies of it instead, in the middle of what it was writing. ``room`` is how many bytes can still be written.
    """

    folder: Path
    at: int = 0
    error: int = errno.EIO
    forever: bool = False
    kill: bool = False
    room: int | None = None
    calls: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 8))
    """Shared with children, so that the parent learns how many calls there were."""

    def __post_init__(self) -> None:
        self._handles: set[int] = set()
        self._real = {name: getattr(os, name) for name in (*_BY_PATH, *_BY_HANDLE)}

    @property
    def count(self) -> int:
        """Calls so far."""
        return int.from_bytes(self.calls[:8], "little")

    def install(self) -> None:
        """From now on."""
        for name in _BY_PATH:
            setattr(os, name, self._by_path(name))
        for name in _BY_HANDLE:
            setattr(os, name, self._by_handle(name))

    def _by_path(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, int) or not self._concerns(path):
                return real(path, *args, **kwargs)
            self._one_more()
            found = real(path, *args, **kwargs)
            if name == "open":
                self._handles.add(found)
            return found

        return call

    def _by_handle(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(handle: int, *args: Any) -> Any:
            if handle not in self._handles:
                return real(handle, *args)
            if name == "close":
                self._handles.discard(handle)
            try:
                self._one_more(handle, args[0] if name == "write" else b"")
            except OSError:
                if name == "close":  # the system closes it all the same
                    real(handle)
                raise
            return self._written(handle, args[0]) if name == "write" else real(handle, *args)

        return call

    def _written(self, handle: int, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.room is not None:
            if view and not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            view = view[: self.room]
            self.room -= len(view)
        return int(self._real["write"](handle, view))

    def _concerns(self, path: Any) -> bool:
        return os.path.abspath(os.fsdecode(path)).startswith(str(self.folder))  # noqa: PTH100 - as it is given

    def _one_more(self, handle: int = -1, data: Any = b"") -> None:
        count = self.count + 1
        self.calls[:8] = count.to_bytes(8, "little")
        if not self.at or count < self.at or (count > self.at and not self.forever):
            return
        if self.kill:
            if data:
                self._real["write"](handle, memoryview(data).cast("B")[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.error, os.strerror(self.error))


def own_mounts() -> bool:
    """Whether this process may mount; what it mounts from now on is seen by itself and its children only."""
    if os.geteuid() != 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NAMESPACE):
        return False
    return not libc.mount(b"none", b"/", None, ctypes.c_ulong(_RECURSIVE | _PRIVATE), None)


def mount_small(folder: Path, size: int, again: bool = False) -> None:
    """A disk of ``size`` bytes in memory at ``folder``; ``again`` changes that of one already there."""
    _mount(b"none", folder, b"tmpfs", _REMOUNT * again, f"size={size}".encode())


def mount_read_only(folder: Path) -> None:
    """Let nobody write to ``folder``, not even root."""
    _mount(os.fsencode(folder), folder, None, _BIND, None)
    _mount(b"none", folder, None, _BIND | _REMOUNT | _READ_ONLY, None)


def unmount(folder: Path) -> None:
    """Undo one of the above."""
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).umount2(os.fsencode(folder), 2)


def _mount(source: bytes, folder: Path, kind: bytes | None, flags: int, data: bytes | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source, os.fsencode(folder), kind, ctypes.c_ulong(flags), data):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
