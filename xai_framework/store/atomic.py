"""Files that are whole or absent: written aside, synced, then renamed into place."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import platform
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xai_framework.core.errors import StoreError
from xai_framework.store.signals import held

_TEMPORARY = re.compile(r"\.tmp-(\d+)-([0-9a-f]+)@(.*)")
_HOST = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node())[:200]


def write_atomic(path: Path, data: bytes | memoryview, *, durable: bool = True) -> None:
    """Put ``data`` at ``path`` or raise StoreError and leave nothing behind that could be taken for it.

    On return the file survives a power cut; with ``durable=False`` only a crash of the program, at less cost.
    """
    with _replacing(path, len(data), durable) as handle:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]


@contextlib.contextmanager
def stream_atomic(path: Path, needed: int) -> Iterator[Stream]:
    """Like :func:`write_atomic` for a file too large for memory; ``needed`` is its size, for the error message.

    Signals are handled where the stream's ``check`` is called, and at the end.
    """
    with held() as let_through, _replacing(path, needed, durable=True) as handle:
        stream = Stream(handle, let_through)
        try:
            yield stream
        except Exception:
            stream.check()  # whatever HDF5 makes of a lost write, the write is the cause
            raise
        stream.check()


class Stream(io.RawIOBase):
    """A file that HDF5 writes through, which never tells HDF5 of an error: that crashes the whole process.

    The first error is kept, later writes are dropped, and :meth:`check` raises it.
    ``let_through`` is called there too: whatever raises is welcome in it, as it is nowhere else.
    """

    def __init__(self, handle: int, let_through: Callable[[], object]) -> None:
        self._handle, self._let_through = handle, let_through
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raises the first error so far."""
        self._let_through()
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Write at the current position, or pretend to."""
        view = memoryview(data).cast("B")
        rest = view
        try:
            while rest and self._error is None:
                rest = rest[os.write(self._handle, rest) :]
        except BaseException as error:  # an interrupt in here would crash HDF5 as well
            self._error = error
        if rest:
            os.lseek(self._handle, len(rest), os.SEEK_CUR)
        return len(view)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any buffer
        """Fill ``buffer`` from the current position."""
        view = memoryview(buffer).cast("B")
        data = os.read(self._handle, len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        return os.lseek(self._handle, offset, whence)

    def truncate(self, size: int | None = None) -> int:
        """As of any file, or pretend to."""
        size = self.tell() if size is None else size
        try:
            if self._error is None:
                os.ftruncate(self._handle, size)
        except OSError as error:
            self._error = error
        return size

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True


def append_line(path: Path, line: bytes) -> None:
    """Append one line by a single write, so that writers in other processes do not mix with it.

    It begins on a line of its own, so a line torn by a crash spoils none after it. Raises StoreError.
    """
    data = b"\n" + line + b"\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            if os.write(handle, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)
    except OSError as error:
        raise _explained(error, path, len(data)) from error


def place_link(source: Path, path: Path) -> None:
    """A second name for a file, or a copy of it where the file system has no links. Raises StoreError."""
    try:
        os.link(source, path)
        _sync_folder(path.parent)
    except OSError:
        write_atomic(path, source.read_bytes())


def check_writable(folder: Path) -> None:
    """Raises StoreError where no file can be put into a folder; it is made where it is not there yet."""
    temporary = folder / f".tmp-{os.getpid()}-{secrets.token_hex(4)}@{_HOST}"
    try:
        _make_folder(folder)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.unlink(temporary)  # noqa: PTH108
    except OSError as error:
        raise _explained(error, folder, 0) from error


def remove(path: Path) -> None:
    """Delete a file that may be there. Raises StoreError where the disk refuses."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108
    except OSError as error:
        raise StoreError(f"cannot be removed: {error.strerror}", where=str(path)) from error


def is_temporary(path: Path) -> bool:
    """Whether a file was written aside and is not (yet) in place."""
    return _TEMPORARY.fullmatch(path.name) is not None


def is_abandoned(path: Path) -> bool:
    """Whether nobody can be writing this temporary file any more, as far as can be told from this machine."""
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    number = int(match[1])
    if match[3] != _HOST or number == os.getpid():  # our own number: left by an earlier process that had it
        return True
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


@contextlib.contextmanager
def _replacing(path: Path, needed: int, durable: bool) -> Iterator[int]:
    """A handle to a temporary file that takes the place of ``path`` at the end."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}@{_HOST}")
    handle: int | None = None
    try:
        _make_folder(path.parent)
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        yield handle
        if durable:
            os.fsync(handle)
        closing, handle = handle, None
        os.close(closing)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        with contextlib.suppress(OSError):
            if handle is not None:
                os.close(handle)
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        if isinstance(error, OSError):
            raise _explained(error, path, needed) from error
        raise
    if durable:
        try:
            _sync_folder(path.parent)
        except OSError as error:
            raise _explained(error, path, needed) from error


def _make_folder(folder: Path) -> None:
    """Create a folder and those above it, each name synced, so that a power cut cannot lose what is put there."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.mkdir(folder)  # noqa: PTH102
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explained(error: OSError, path: Path, needed: int) -> StoreError:
    reason = f"cannot be written: {error.strerror or error}"
    try:
        folder = next(p for p in path.parents if p.is_dir())
        reason += f" ({needed} bytes needed, {shutil.disk_usage(folder).free} free)"
    except (OSError, StopIteration):
        reason += f" ({needed} bytes needed)"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "free some space, or choose another outputs folder; the same command then goes on from here"
    else:
        fix = "make the outputs folder writable, or choose another; the same command then goes on from here"
    return StoreError(reason, where=str(path), fix=fix)
