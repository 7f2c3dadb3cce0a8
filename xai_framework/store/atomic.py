"""Files that are whole or absent: written aside, synced, then renamed into place."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

from xai_framework.core.errors import StoreError

TEMPORARY = ".tmp-"


def write_atomic(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` or raise StoreError and leave nothing behind that could be taken for it."""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}-{path.name}"[:255])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, data)
        os.replace(temporary, path)  # noqa: PTH105 - patched by fault tests
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _explained(error, path, len(data)) from error


def append_line(path: Path, line: bytes) -> None:
    """Append one line by a single write, so that writers in other processes do not mix with it."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise _explained(error, path, len(line)) from error


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explained(error: OSError, path: Path, needed: int) -> StoreError:
    what = f"cannot be written: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = next((p for p in (path, *path.parents) if p.exists()), Path())
        what += f" ({needed} bytes needed, {shutil.disk_usage(folder).free} free)"
    return StoreError(
        what, where=str(path), fix="free space or choose another outputs folder; a rerun goes on from here"
    )
