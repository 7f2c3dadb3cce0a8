"""What to say of a path that leads nowhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from xai_framework.core.errors import nearest

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""Endings of the files that count as pictures."""

_LIKE = 0.65  # of a name in a folder: 'photoes' is 0.92 like 'photos' and 0.5 like 'tests'
_MOST_LISTED = 6
_MOST_SEEN = 2000  # entries of a folder that are looked at for pictures: an error is no place to search a disk


def instead_of(path: Path, suffixes: Iterable[str] = PICTURES, *, folder: bool = False) -> str:
    """What could be meant by a path that is not there: the near names beside it, else what would be possible there.

    Files count with one of the ``suffixes``, folders with such a file in them; nothing hidden.
    """
    around = path.parent
    if not around.is_dir():
        missing = next(p for p in (around, *around.parents) if p.parent.is_dir() or p.parent == p)
        return f"there is no folder {str(missing)!r}"
    wanted = tuple(s.lower() for s in suffixes)
    beside = [p for p in sorted(around.iterdir()) if not p.name.startswith(".")]
    fitting = [p for p in beside if (p.is_dir() if folder else p.is_file())]
    if not folder:
        fitting = [p for p in fitting if p.suffix.lower() in (*wanted, path.suffix.lower())]
    close = nearest(path.name, (p.name for p in fitting), likeness=_LIKE)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    names = [p.name for p in fitting if not folder or _holds(p, wanted)]
    what = "folders with pictures" if folder else "files that it could be"
    if not names:
        return f"there are no {what} in {str(around.resolve())!r}; give another path"
    more = f", ... ({len(names)} in all)" if len(names) > _MOST_LISTED else ""
    return f"{what} there: {', '.join(names[:_MOST_LISTED])}{more}"


def _holds(folder: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file with one of the endings lies in a folder or below it, as far as is seen quickly."""
    names = (name for _, _, files in os.walk(folder) for name in files)
    return any(name.lower().endswith(suffixes) for name in islice(names, _MOST_SEEN))
