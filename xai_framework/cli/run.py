"""``xai run``: Hydra composes, we plan."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from xai_framework.core.errors import ConfigError, did_you_mean

_SHOWS = ("--cfg", "-c", "--help", "-h", "--info", "-i", "--hydra-help", "--version", "--shell-completion", "-sc")
_FLAGS = (*_SHOWS, "--multirun", "-m", "--resolve", "--package", "-p")
_TAKES_VALUE = ("--cfg", "-c", "--package", "-p")


def run_command(argv: Sequence[str]) -> int:
    """Everything behind ``xai run``; returns the exit code."""
    from xai_framework.registry import Registry

    if "--dry-run" in argv:
        from xai_framework.cli.plan import plan_command

        return plan_command(argv)
    arguments, files = local_plugins(argv)
    registry = Registry(files)
    configs = composed_jobs(arguments, registry, files)
    if configs is None:  # another launcher ran the jobs, or Hydra only showed something
        return 0
    from xai_framework.spec.compose import job_of
    from xai_framework.study import run_study

    return run_study([job_of(c, registry) for c in configs], registry, list(argv), files)


def composed_jobs(arguments: Sequence[str], registry: Any, files: Sequence[str]) -> list[Any] | None:  # noqa: ANN401
    """All configurations of a run or multirun; None where there is nothing for us to run."""
    import hydra
    from hydra_plugins import xai_launcher as launcher
    from omegaconf import open_dict

    from xai_framework.spec import checks, nodes

    flags, overrides = split(arguments)
    shows = any(f.split("=")[0] in _SHOWS for f in flags)
    launcher.register()
    nodes.store_nodes(registry)
    if not any(f.startswith(("--shell-completion", "-sc")) for f in flags):
        multirun = "-m" in flags or "--multirun" in flags
        overrides = checks.preflight(overrides, multirun, registry)
    launcher.Planned.collected.clear()
    collected: list[Any] = []

    def task(config: Any) -> int:  # noqa: ANN401 - DictConfig
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        with open_dict(config):
            config.hydra = HydraConfig.instance().cfg.hydra  # type: ignore[union-attr] # names the experiment chosen
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # another launcher than ours: this job runs by itself
            from xai_framework.registry import Registry
            from xai_framework.spec.compose import job_of
            from xai_framework.study import run_study

            mine = Registry(files)
            return run_study([job_of(config, mine)], mine, overrides, files)
        collected.append(config)
        return 0

    before = sys.argv
    sys.argv = ["xai run", *flags, *overrides]
    try:
        hydra.main(version_base="1.3", config_path="pkg://xai_framework.conf", config_name="config")(task)()
    finally:
        sys.argv = before
    if shows:
        return None
    return launcher.Planned.collected or collected or None


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags (with their values) and the overrides."""
    flags, overrides = [], []
    rest = iter(arguments)
    for argument in rest:
        if argument.startswith("-"):
            name = argument.split("=")[0]
            if name not in _FLAGS:
                # other flags of Hydra's would read configs that were not checked, or unpickle
                fix = "put your own files into ./conf" if "config" in name or name in ("-cd", "-cn", "-cp") else ""
                raise ConfigError(f"no flag {name!r}", where="xai run", fix=fix or did_you_mean(name, _FLAGS))
            flags.append(argument)
            if argument in _TAKES_VALUE:
                flags.append(next(rest, ""))
        else:
            overrides.append(argument)
    return flags, overrides


def local_plugins(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """``plugins=[a.py,b.py]`` taken out of the arguments: plugin files are code, so they are named here only."""
    rest, files = [], []
    for argument in argv:
        if argument.startswith("plugins="):
            value = argument.removeprefix("plugins=").strip()
            names = value[1:-1] if value.startswith("[") and value.endswith("]") else value
            files += [n.strip().strip("'\"") for n in names.split(",") if n.strip()]
            if not files:
                raise ConfigError("no file is named", where=argument, fix="plugins=[./my_cam.py]")
        else:
            rest.append(argument)
    return rest, files
