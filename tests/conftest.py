"""Settings shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real weights and photographs; absent in a user's clone, required in CI."""
    folder = Path(os.environ.get("XAI_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "labels.csv").is_file():
        if os.environ.get("CI"):
            pytest.fail(f"no real data at {folder}: set XAI_REAL_DATA")
        pytest.skip(f"no real data at {folder}: set XAI_REAL_DATA to test with photographs")
    return folder
