"""The interface of executors: who computes the units of a study."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from xai_framework.core.plugin import Plugin


class Executor(Plugin, ABC):
    """Runs a study's missing units: in this process, in others, on other machines.

    Results do not depend on it: a unit's maps follow from its rows and the cells' identities, and are stored by the
    process that computed them.
    """

    kind: ClassVar[str] = "executor"

    @abstractmethod
    def run(self, work: Any) -> None:  # noqa: ANN401 - xai_framework.executors.Work, which plugins need not import
        """Compute what is missing (``work.units``), tell what happens (``work.tell``), end early where ``work.stop``
        says so. Raises XaiError for mistakes that concern a whole backbone, after the others are done.
        """
