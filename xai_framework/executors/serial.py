"""One unit after another, in this process."""

from __future__ import annotations

from dataclasses import dataclass

from xai_framework.core.executor import Executor
from xai_framework.executors.drive import Here, drive
from xai_framework.executors.work import Work


@dataclass(frozen=True)
class Serial(Executor):
    """One unit after another, in this process."""

    def run(self, work: Work) -> None:
        """See :class:`Executor`."""
        drive(work, Here(work))
