"""The small counts of the reliability harness: every promise is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="faults are made by means of Linux")
def test_promises_are_kept() -> None:
    # a process of its own: it forks, and forks of a process with threads are no good
    command = [sys.executable, "-m", "benchmarks.reliability", "--quick", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=580)
    assert done.stdout, done.stderr
    failures = [f"row {row['number']}: {failure}" for row in json.loads(done.stdout) for failure in row["failures"]]
    assert not failures, "\n".join(failures)
    assert done.returncode == 0
