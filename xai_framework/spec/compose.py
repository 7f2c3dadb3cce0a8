"""From a composed configuration to a checked Job."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.core.params import params_of
from xai_framework.registry import Registry
from xai_framework.spec.environment import without_secrets
from xai_framework.spec.job import Job, Settings
from xai_framework.spec.nodes import SEVERAL
from xai_framework.spec.problems import explained

_SETTINGS = {p.name: p for p in params_of(Settings)}
_PLUGINS = ("backbone", "dataset", "target", "method", "renderer", "executor", "metric", "experiment")


def job_of(config: DictConfig, registry: Registry) -> Job:
    """Check every value of one composed configuration. Raises ConfigError naming the key."""
    experiment = config.hydra.runtime.choices.get("experiment") if "hydra" in config else None
    # unresolved: only keys are asked of them, and a value may name a secret of the environment
    typed = _typed(config)
    config = config.copy()
    with open_dict(config):
        config.pop("hydra", None)
    text = OmegaConf.to_yaml(config, resolve=False)
    try:
        with without_secrets():
            plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise explained(error, config) from None
    if not isinstance(plain, dict):
        raise ConfigError("the configuration is no mapping")
    values = {str(k): v for k, v in plain.items()}
    if values.get("plugins"):
        raise ConfigError("plugin files are named on the command line only", where="plugins")
    values.pop("plugins", None)
    for key in values:
        if key not in _SETTINGS and key not in _PLUGINS:
            raise ConfigError(f"no setting {key!r}", where=key, fix=did_you_mean(key, [*_SETTINGS, *_PLUGINS]))
    values = _of_the_chosen(values, typed, registry)
    settings = _settings(values, str(experiment) if experiment else None)
    methods, metrics = (_several(kind, values.get(kind) or {}, registry) for kind in SEVERAL)
    controls = _controls(settings, methods, registry)
    if not metrics:
        controls = {}
    backbone, dataset, target = (registry.check(kind, _present(values.get(kind), kind), kind) for kind in _PLUGINS[:3])
    return Job(
        backbone=backbone,
        dataset=dataset,
        target=target,
        methods={**methods, **controls},
        metrics=metrics,
        renderer=registry.check("renderer", _present(values.get("renderer"), "renderer"), "renderer"),
        executor=registry.check("executor", _present(values.get("executor"), "executor"), "executor"),
        settings=settings,
        config_yaml=text,
        controls=tuple(controls),
    )


def _typed(config: DictConfig) -> list[str]:
    """The overrides of the command line as they were typed."""
    typed = OmegaConf.to_container(config.hydra.overrides.task, resolve=False) if "hydra" in config else []
    return [str(o) for o in typed] if isinstance(typed, list) else []


def _of_the_chosen(values: Mapping[str, Any], typed: Sequence[str], registry: Registry) -> dict[str, Any]:
    """Without the values that an experiment gives to another plugin than the one chosen in its place."""
    given = {o.partition("=")[0].lstrip("+~") for o in typed}
    kept = dict(values)
    for kind in given.intersection(("backbone", "dataset", "target", "renderer", "executor", *SEVERAL)):
        section = kept.get(kind)
        if not isinstance(section, Mapping):
            continue
        if kind in SEVERAL:
            foreign = [k for k, v in section.items() if isinstance(v, Mapping) and "name" not in v]
        else:
            known = {"name", *(p.name for p in registry.schema(kind, str(section.get("name"))).params)}
            foreign = [k for k in section if k not in known]
        foreign = [k for k in foreign if not any(f"{g}.".startswith(f"{kind}.{k}.") for g in given)]
        if foreign:
            names = ", ".join(f"{kind}.{k}" for k in foreign)
            print(f"left out, since {kind}= was given: {names}", file=sys.stderr)
        kept[kind] = {k: v for k, v in section.items() if k not in foreign}
    return kept


def _present(value: object, kind: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or "name" not in value:
        raise ConfigError(f"no {kind} is chosen", where=kind, fix=f"{kind}=NAME; xai list {kind}s shows the names")
    return {k: v for k, v in value.items() if v != "???"}


def _settings(values: Mapping[str, Any], experiment: str | None) -> Settings:
    given = {k: v for k, v in values.items() if k in _SETTINGS}
    if given.get("study") is None:
        given["study"] = experiment.replace("/", "-") if experiment and experiment != "None" else "default"
    if given.get("controls") == []:  # the natural way to say none
        given["controls"] = None
    return Settings(**{k: _SETTINGS[k].check(v, k) for k, v in given.items()})


def _controls(
    settings: Settings, methods: Mapping[str, Mapping[str, Any]], registry: Registry
) -> dict[str, Mapping[str, Any]]:
    """The controls that the study does not name itself, by label, each at its defaults."""
    chosen = {str(config["name"]) for config in methods.values()}
    found: dict[str, Mapping[str, Any]] = {}
    for given in settings.controls or ():
        name = registry.canonical("method", given)
        if name not in registry.names("method"):
            raise ConfigError(
                f"no method {given!r}", where="controls", fix=did_you_mean(given, registry.names("method"))
            )
        if name not in chosen:
            label = f"{name}_control" if name in methods else name
            found[label] = registry.check("method", {"name": name}, f"controls.{name}")
    return found


def _several(kind: str, value: object, registry: Registry) -> dict[str, Mapping[str, Any]]:
    """The entries of a group of which a study has several, by label."""
    if not isinstance(value, Mapping) or (kind == "method" and not value):
        raise ConfigError(f"no {kind}: nothing to do", where=kind, fix=f"xai list {kind}s shows the names")
    found: dict[str, Mapping[str, Any]] = {}
    for label, config in value.items():
        if not isinstance(label, str):
            raise ConfigError(f"label {label!r} is not text", where=f"{kind}.{label}", fix=f'quote it: "{label}"')
        if not isinstance(config, Mapping):
            raise ConfigError(
                f"expected a {kind}, got {config!r}", where=f"{kind}.{label}", fix=f"+{kind}@{kind}.{label}=NAME"
            )
        found[label] = registry.check(kind, _present(config, f"{kind}.{label}"), f"{kind}.{label}")
    return found
