"""Everything that can be wrong with a command line, said before Hydra runs and before anything is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.registry import Registry
from xai_framework.spec.nodes import GROUPS

CONFIG_MODULE, CONFIG_NAME = "xai_framework.conf", "config"
LARGEST_CONFIG = 1 << 20
_FREE = ("mode", "sweeper.params", "runtime", "overrides", "job", "env")


def preflight(arguments: Sequence[str], multirun: bool, registry: Registry) -> list[str]:
    """Check overrides and everything they compose to; returns them in the form Hydra understands.

    Raises ConfigError. Nothing a user's file names is executed here or, after this, by Hydra.
    """
    overrides = [_parsed(a) for a in arguments]
    _check_files()
    with _composer():
        options = {g: _options(g) for g in (*GROUPS, "experiment")}
        overrides = [_respelled(o, options, registry) for o in overrides]
        for o in overrides:
            _check_shape(o, multirun)
            _check_choice(o, options, registry)
        _check_repeated(overrides)
        rewritten = _nested_spelled_out(overrides, registry)
        first = [_first_choice(o) for o in rewritten]
        for chosen in _each_experiment(rewritten, first):
            _check_composed(chosen, rewritten)
    return [str(o.input_line) for o in rewritten]


class _composer:  # noqa: N801 - used as a context only
    """Hydra's compose, initialised for our config and cleared afterwards."""

    def __enter__(self) -> None:
        GlobalHydra.instance().clear()
        self._context = initialize_config_module(CONFIG_MODULE, version_base="1.3")
        self._context.__enter__()

    def __exit__(self, *problem: Any) -> None:  # noqa: ANN401
        GlobalHydra.instance().clear()


def _parsed(argument: str) -> Override:
    if "_target_" in argument:
        raise ConfigError("_target_ is not allowed", where=argument, fix="register a plugin and give its name")
    try:
        parsed: Override = OverridesParser.create().parse_override(argument)
    except HydraException as error:
        raise ConfigError(_first_line(error), where=argument, fix=_spelling(argument)) from None
    if parsed.value() is None and argument.endswith("="):
        raise ConfigError("no value behind '='", where=argument, fix="give a value, or null for none")
    return parsed


def _spelling(argument: str) -> str:
    key, _, value = argument.partition("=")
    if not value:
        return "expected key=value"
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f"a value with quotes, commas, '=', brackets or spaces is written '{key}=\"{quoted}\"'"


def _options(group: str) -> list[str]:
    """Everything that can be chosen, also in folders: ``reference/r1_smoothgrad``."""
    loader = GlobalHydra.instance().config_loader()
    names = [o for o in loader.get_group_options(group) if o != "__init__"]
    folders = [f for f in loader.list_groups(group) if not f.startswith("__")]
    return names + [f"{folder}/{name}" for folder in folders for name in _options(f"{group}/{folder}")]


def _respelled(o: Override, options: dict[str, list[str]], registry: Registry) -> Override:
    """``method=[Grad-CAM++]`` as ``method=[gradcam_plus_plus]``."""
    group = str(o.key_or_group)
    if group not in GROUPS or o.is_delete():
        return o
    key, _, value = str(o.input_line).partition("=")
    parts = re.split(r"([\[\],\s]+)", value)
    known = (registry.canonical(group, part) if part not in options[group] else part for part in parts)
    rewritten = f"{key}={''.join(known)}"
    return o if rewritten == str(o.input_line) else _parsed(rewritten)


def _check_shape(o: Override, multirun: bool) -> None:
    if o.is_sweep_override() and not multirun:
        key, value = str(o.key_or_group), str(o.input_line).partition("=")[2]
        fix = f"use {key}=[{value}] for several at once, or -m to sweep" if key == "method" else "add -m to sweep"
        raise ConfigError("several values for one run", where=str(o.input_line), fix=fix)


def _check_choice(o: Override, options: dict[str, list[str]], registry: Registry) -> None:
    group = str(o.key_or_group)
    if group not in options or o.is_delete():
        return
    if o.is_sweep_override():
        values = [v for s in o.sweep_iterator() for v in (s if isinstance(s, list) else [s])]
    else:
        value = o.value()
        values = value if isinstance(value, list) else [value]
    if group == "method" and not values:
        raise ConfigError("no method: nothing to do", where=str(o.input_line), fix=did_you_mean("", options["method"]))
    names = [str(v) for v in values if v is not None]
    if not o.is_sweep_override():
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    f"{name!r} is given twice",
                    where=str(o.input_line),
                    fix=f"give the second a label: +{group}@{group}.again={name}",
                )
    for name in names:
        if name not in options[group]:
            broken = [s for s in registry.schemas(group) if s.name == name and s.broken] if group in GROUPS else []
            if broken:
                raise ConfigError(f"plugin {name!r} cannot be used: {broken[0].broken}", where=str(o.input_line))
            if Path(f"conf/{group}/{name}.yml").is_file():
                raise ConfigError("Hydra reads .yaml only", where=f"conf/{group}/{name}.yml", fix="rename it to .yaml")
            fix = did_you_mean(name, options[group])
            if group == "experiment":
                fix += f"; looked in {Path('conf/experiment').absolute()} and the package's own"
            raise ConfigError(f"no {group} {name!r}", where=str(o.input_line), fix=fix)


def _check_repeated(overrides: Sequence[Override]) -> None:
    seen: dict[str, str] = {}
    for o in overrides:
        key = o.get_key_element().lstrip("+")
        if key in seen:
            raise ConfigError(
                f"{key!r} is given twice",
                where=f"{seen[key]} {o.input_line!s}",
                fix="give it once, e.g. method=[a,b]",
            )
        seen[key] = str(o.input_line)


def _nested_spelled_out(overrides: Sequence[Override], registry: Registry) -> list[Override]:
    """``method.smoothgrad.inner=gradcam`` in Hydra's own spelling, ``method@method.smoothgrad.inner=gradcam``."""
    methods = {*registry.names("method"), *registry.aliases("method")}
    nested = {p.name for s in registry.schemas("method") if not s.broken for p in s.params if p.nested == "method"}
    out = []
    for o in overrides:
        key = str(o.key_or_group)
        value = str(o.input_line).partition("=")[2]
        if o.package is None and key.startswith("method.") and key.rsplit(".", 1)[-1] in nested:
            names = [v.strip() for v in value.split(",")]
            if set(names) <= methods:
                o = _parsed(f"method@{key}={value}")
            elif all(re.fullmatch(r"\w+", n) for n in names):
                wrong = next(n for n in names if n not in methods)
                raise ConfigError(f"no method {wrong!r}", where=str(o.input_line), fix=did_you_mean(wrong, methods))
        out.append(o)
    return out


def _first_choice(o: Override) -> str:
    if not o.is_sweep_override():
        return str(o.input_line)
    return f"{o.get_key_element()}={next(iter(o.sweep_string_iterator()))}"


def _each_experiment(overrides: Sequence[Override], first: list[str]) -> Iterator[list[str]]:
    """The overrides with every experiment that a sweep names, so that each is checked."""
    for o in overrides:
        if str(o.key_or_group) == "experiment" and o.is_sweep_override():
            for choice in o.sweep_string_iterator():
                yield [f"experiment={choice}" if f.startswith("experiment=") else f for f in first]
            return
    yield first


def _check_composed(chosen: list[str], overrides: Sequence[Override]) -> None:
    groups = [c for c, o in zip(chosen, overrides, strict=True) if _selects(o) or c.startswith(("hydra", "+", "~"))]
    base = composed(groups)
    for c, o in zip(chosen, overrides, strict=True):
        if c not in groups:
            _check_key(str(o.key_or_group), base, c)
    config = composed(chosen)
    typed = composed([c for c, o in zip(chosen, overrides, strict=True) if str(o.key_or_group).startswith("hydra")])
    _check_hydra(config, typed)
    _refuse_targets(config)


def _selects(o: Override) -> bool:
    return str(o.key_or_group) in (*GROUPS, "experiment")


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration with Hydra's own node, or ConfigError."""
    try:
        return compose(CONFIG_NAME, overrides=list(overrides), return_hydra_config=True)
    except yaml.YAMLError as error:
        raise ConfigError(_first_line(error), where="YAML", fix="mend the file at that line") from None
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        text = _first_line(error)
        key = text.split("'")[1] if "'" in text else ""
        raise ConfigError(text, where=key) from None


def _check_key(key: str, base: DictConfig, written: str) -> None:
    """``key`` must exist; name the nearest."""
    node: Any = base
    parts = key.split(".")
    for i, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            raise ConfigError(f"{'.'.join(parts[:i])!r} has no parts", where=written)
        if part not in list(node):  # `in` alone denies keys whose value must still be given
            inside = ".".join(parts[:i])
            names = [str(k) for k in node if str(k) != "hydra"]
            if inside in ("method", "") and i < len(parts) - 1 and inside:
                raise ConfigError(
                    f"no method labelled {part!r} in this study", where=written, fix=did_you_mean(part, names)
                )
            within = f"parameter {part!r} in {node.get('name') or inside}" if inside else f"setting {part!r}"
            raise ConfigError(f"no {within}", where=written, fix=did_you_mean(part, names))
        node = node._get_node(part)


def _check_hydra(config: DictConfig, typed: DictConfig) -> None:
    """A user's file may set hydra.mode and hydra.sweeper.params, nothing else of Hydra's own."""
    found, allowed = (_flat(OmegaConf.to_container(c.hydra, resolve=False)) for c in (config, typed))
    for key in sorted({*found, *allowed}):
        free = any(key == f or key.startswith(f"{f}.") for f in _FREE)
        if not free and found.get(key) != allowed.get(key):
            raise ConfigError(
                "an experiment may set only hydra.mode and hydra.sweeper.params",
                where=f"hydra.{key}",
                fix="give it on the command line if you mean it",
            )


def _refuse_targets(config: DictConfig) -> None:
    plain = OmegaConf.to_container(config, resolve=False)
    if isinstance(plain, dict):
        plain.pop("hydra", None)
    for key in _flat(plain):
        if "_target_" in key.split("."):
            raise ConfigError("_target_ is not allowed", where=key, fix="register a plugin and give its name")


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, dict) and value:
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}{key}.").items()}
    if isinstance(value, list) and value:
        return {k: v for i, inner in enumerate(value) for k, v in _flat(inner, f"{prefix}{i}.").items()}
    return {prefix.rstrip("."): value}


def _check_files() -> None:
    """The user's own ./conf: YAML that can be read, of bearable size, without tags that make objects."""
    for file in sorted(Path("conf").rglob("*.yaml")) if Path("conf").is_dir() else []:
        if file.stat().st_size > LARGEST_CONFIG:
            raise ConfigError(f"has more than {LARGEST_CONFIG} bytes", where=str(file))
        text = file.read_text("utf-8", errors="replace")
        try:
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                tag = getattr(event, "tag", None)
                if tag and "python" in tag:
                    raise ConfigError(f"tag {tag} is not allowed", where=_spot(file, event.start_mark))
                if isinstance(event, yaml.ScalarEvent) and event.value == "_target_":
                    raise ConfigError(
                        "_target_ is not allowed",
                        where=_spot(file, event.start_mark),
                        fix="register a plugin and give its name",
                    )
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = text.splitlines()[mark.line].strip() if mark and mark.line < len(text.splitlines()) else ""
            raise ConfigError(f"{error.problem}: {line!r}", where=_spot(file, mark), fix="mend the YAML") from None


def _spot(file: Path, mark: Any) -> str:  # noqa: ANN401 - yaml.Mark
    return f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)


def _first_line(error: BaseException) -> str:
    return next((ln.strip() for ln in str(error).splitlines() if ln.strip()), type(error).__name__)
