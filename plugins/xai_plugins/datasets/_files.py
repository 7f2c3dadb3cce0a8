"""What datasets of picture files share: identity without decoding, and opening."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from xai_framework.core import PICTURES, ConfigError, Item, Label, Region, Row, instead_of, open_image


def row_of(id: str, path: Path, label: Label = None) -> Row:
    """The manifest line of one file. A file that cannot be read has its own, stable, identity."""
    try:
        with path.open("rb") as file:
            return Row(id, hashlib.file_digest(file, "sha256").hexdigest(), label)
    except OSError as error:
        reason = f"{id}: cannot be read ({error.strerror or error})"
        return Row(id, "unreadable:" + hashlib.sha256(reason.encode()).hexdigest(), label, reason)


def item_of(id: str, path: Path, label: Label = None, truth: tuple[Region, ...] = ()) -> Item:
    """The picture of one file. Raises ImageError as :func:`open_image` does."""
    image = open_image(path, id=id)
    # what it is now, after it was read: one that is replaced meanwhile has another
    return Item(id, image, label, truth, row_of(id, path).content)


def fingerprint(files: Iterable[tuple[str, Path]], more: str = "") -> str:
    """Changes with any file's name, size or time."""
    seen = hashlib.sha256(more.encode())
    for id, path in files:
        try:
            stat = path.stat()
            seen.update(f"{id}\n{stat.st_size}\n{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        except OSError:
            seen.update(f"{id}\nunreadable\n".encode("utf-8", "surrogateescape"))
    return seen.hexdigest()


def existing(path: str, where: str, suffixes: Iterable[str] = PICTURES, *, folder: bool = False) -> Path:
    """The path, or ConfigError with what could be meant: files with these endings, folders of such files."""
    found = Path(path)
    try:
        if found.is_dir() if folder else found.is_file():
            return found
        fix = instead_of(found, suffixes, folder=folder)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", where=f"{where}={path}") from None
    what = "folder" if folder else "file"
    raise ConfigError(f"no such {what}", where=f"{where}={path}", fix=fix)
