"""A Hydra launcher that receives a whole multirun at once, so that it becomes one plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class PlannedConfig:
    """Hydra's own way to name a launcher; set by us, never by a user's file."""

    _target_: str = "hydra_plugins.xai_launcher.Planned"


class Planned(Launcher):
    """Collects the composed jobs instead of running them one by one."""

    collected: list[DictConfig] = []  # noqa: RUF012 - emptied by collect(), Hydra makes the instance

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's protocol."""
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose each job and keep it."""
        results = []
        for overrides in job_overrides:
            config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
            self.collected.append(config)
            done: Any = JobReturn(cfg=config, overrides=list(overrides))
            done.status, done.return_value = JobStatus.COMPLETED, 0
            results.append(done)
        return results


def register() -> None:
    """Make the launcher known: its namespace is not found in an editable install."""
    if Planned not in Plugins.instance().discover(Launcher):
        Plugins.instance().register(Planned)
    ConfigStore.instance().store(group="hydra/launcher", name="planned", node=PlannedConfig)
