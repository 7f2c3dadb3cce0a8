"""Says which maps a damaged file has lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from xai_framework.core.errors import StoreError
from xai_framework.store.reader import MapFile

_SECONDS = 20
_ASK = "import sys; from xai_framework.store import damage; damage.main(sys.argv[1])"


def damaged(path: Path) -> StoreError:
    """The error for a file whose checksum is wrong; names the images whose maps are lost where it can."""
    ids = _lost(path)
    whose = f" (map of {', '.join(map(repr, ids[:5]))}{', ...' if len(ids) > 5 else ''})" if ids else ""
    fix = "run 'xai verify --repair' and then the same command again; only what is lost is computed anew"
    return StoreError(f"does not match its checksum{whose}", where=str(path), fix=fix)


def _lost(path: Path) -> list[str]:
    """Ids of the lost maps. Asked in a process of its own: damaged metadata can make HDF5 hang or crash."""
    try:
        asked = [sys.executable, "-c", _ASK, str(path)]
        done = subprocess.run(asked, capture_output=True, timeout=_SECONDS, check=True)
        return [str(i) for i in json.loads(done.stdout)]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def main(path: str) -> None:
    """Print the ids of the maps in a file that fail their checksum, as JSON."""
    try:
        with MapFile(path, examined=True) as file:
            print(json.dumps(file.attribution.damaged()))
    except StoreError:
        print("[]")
