"""Everything that can be wrong with a command line, said before Hydra runs and before anything is executed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.registry import Registry
from xai_framework.spec.files import check_files
from xai_framework.spec.nodes import GROUPS, SEVERAL
from xai_framework.spec.problems import explained, unclosed

CONFIG_MODULE, CONFIG_NAME = "xai_framework.conf", "config"
MOST_COMBINATIONS = 10_000
_FREE = ("mode", "sweeper.params", "runtime", "overrides", "job", "env")


def preflight(arguments: Sequence[str], multirun: bool, registry: Registry) -> list[str]:
    """Check overrides and everything they compose to; returns them in the form Hydra understands.

    Raises ConfigError. Nothing a user's file names is executed here or, after this, by Hydra.
    """
    overrides = [_parsed(a) for a in arguments]
    check_files()
    with _composer():
        options = {g: _options(g) for g in (*GROUPS, "experiment")}
        overrides = [_respelled(o, options, registry) for o in overrides]
        _check_all(overrides, multirun, options, registry)
        _check_repeated(overrides)
        rewritten = _nested_spelled_out(overrides, registry)
        first = [_first_choice(o) for o in rewritten]
        for chosen in _each_choice(rewritten, first, "experiment"):
            config = _check_composed(chosen, rewritten)
            swept = [_respelled(o, options, registry) for o in _swept_by(config, rewritten)]
            _check_all(swept, True, options, registry)
            first_of_all = [*chosen, *map(_first_choice, swept)]
            if swept:
                composed(first_of_all)
            _check_sweep([*rewritten, *swept], first_of_all)
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
        what = unclosed(argument) or re.sub(r" expecting \{.*\}", " is not expected here", _first_line(error))
        raise ConfigError(what, where=argument or "''", fix=_spelling(argument)) from None
    except RecursionError:
        raise ConfigError("is nested too deep", where=argument[:60]) from None
    if not parsed.key_or_group:
        raise ConfigError("no key before '='", where=argument, fix="expected key=value")
    if parsed.value() is None and argument.endswith("="):
        raise ConfigError("no value behind '='", where=argument, fix="give a value, or null for none")
    return parsed


def _spelling(argument: str) -> str:
    key, _, value = argument.partition("=")
    if not value or key != key.strip():
        return "expected key=value, without spaces"
    if not re.fullmatch(r"[+~]*[^\W\d][\w./-]*(@[^\W\d][\w.-]*)?", key) or re.search(r"[.@]\d", key):
        return "a key, and a label behind '@', is made of letters, digits and '_' and starts with a letter"
    if value.startswith("[") and not value.endswith("]"):
        return f"a list is written without spaces, or all of it in quotes: '{key}=[a, b]'"
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


def _check_all(
    overrides: Sequence[Override], multirun: bool, options: dict[str, list[str]], registry: Registry
) -> None:
    for o in overrides:
        _check_shape(o, multirun)
        _check_choice(o, options, registry)


def _check_shape(o: Override, multirun: bool) -> None:
    if o.value_type in (ValueType.INTERVAL_SWEEP, ValueType.GLOB_CHOICE_SWEEP):
        raise ConfigError("names no values", where=str(o.input_line), fix="name them: a,b,c or range(1,4)")
    if o.is_sweep_override() and not _size(o):
        raise ConfigError("holds no value", where=str(o.input_line), fix="name values: a,b,c or range(1,4)")
    if o.is_sweep_override() and not multirun:
        key, value = str(o.key_or_group), str(o.input_line).partition("=")[2]
        fix = f"use {key}=[{value}] for several at once, or -m to sweep" if key in SEVERAL else "add -m to sweep"
        raise ConfigError("several values for one run", where=str(o.input_line), fix=fix)


def _check_choice(o: Override, options: dict[str, list[str]], registry: Registry) -> None:
    group = str(o.key_or_group)
    if group not in options or o.is_delete():
        return
    names = _chosen(o, group, options[group])
    for name in names:
        if not o.is_sweep_override() and names.count(name) > 1:
            fix = f"give the second a label: +{group}@{group}.again={name}"
            raise ConfigError(f"{name!r} is given twice", where=str(o.input_line), fix=fix)
    for name in names:
        if name not in options[group]:
            raise _unknown(name, group, str(o.input_line), options[group], registry)


def _chosen(o: Override, group: str, options: Sequence[str]) -> list[str]:
    """The names that are chosen from a group, by a run or by all of a sweep."""
    written = str(o.input_line)
    choices = list(o.sweep_iterator()) if o.is_sweep_override() else [o.value()]
    values = [v for choice in choices for v in (choice if isinstance(choice, list) else [choice])]
    if None in values and group != "experiment":
        raise ConfigError("no name is given", where=written, fix=did_you_mean("", options))
    if group not in SEVERAL and any(isinstance(choice, list) and len(choice) > 1 for choice in choices):
        several = ",".join(map(str, values))
        raise ConfigError(f"one run has one {group}", where=written, fix=f"sweep: -m {group}={several}")
    if group == "method" and not values:
        raise ConfigError("no method: nothing to do", where=written, fix=did_you_mean("", options))
    return [str(v) for v in values if v is not None]


def _unknown(name: str, group: str, written: str, options: Sequence[str], registry: Registry) -> ConfigError:
    """Why a name cannot be chosen."""
    broken = [s for s in registry.schemas(group) if s.name == name and s.broken] if group in GROUPS else []
    if broken:
        return ConfigError(f"plugin {name!r} cannot be used: {broken[0].broken}", where=written)
    if Path(f"conf/{group}/{name}.yml").is_file():
        return ConfigError("Hydra reads .yaml only", where=f"conf/{group}/{name}.yml", fix="rename it to .yaml")
    fix = did_you_mean(name, options)
    if group == "experiment":
        fix += f"; looked in {Path('conf/experiment').absolute()} and the package's own"
    return ConfigError(f"no {group} {name!r}", where=written, fix=fix)


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


def _each_choice(overrides: Sequence[Override], first: list[str], group: str) -> Iterator[list[str]]:
    """The overrides with each choice from ``group`` that a sweep names, so that each is checked."""
    for place, o in enumerate(overrides):
        if str(o.key_or_group) == group and o.is_sweep_override():
            for choice in o.sweep_string_iterator():
                yield [*first[:place], f"{o.get_key_element()}={choice}", *first[place + 1 :]]
            return
    yield first


def _swept_by(config: DictConfig, overrides: Sequence[Override]) -> list[Override]:
    """What an experiment sweeps by itself, where the command line does not say otherwise."""
    swept = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    given = {o.get_key_element() for o in overrides}
    params = swept.get("params") if isinstance(swept, dict) else None
    return [o for k, v in (params or {}).items() if (o := _parsed(f"{k}={v}")).get_key_element() not in given]


def _check_sweep(overrides: Sequence[Override], first: list[str]) -> None:
    """The sweep's size, then each choice from a group, as it may lack what the others have."""
    count = math.prod(_size(o) for o in overrides)
    if count > MOST_COMBINATIONS:
        large = max(overrides, key=_size)
        raise ConfigError(
            f"{count} combinations, more than {MOST_COMBINATIONS}", where=str(large.input_line), fix="sweep fewer"
        )
    for group in GROUPS:
        choices = list(_each_choice(overrides, first, group))
        for chosen in choices if len(choices) > 1 else ():
            composed(chosen)


def _size(o: Override) -> int:
    """Number of values; a range is not counted out."""
    if not o.is_sweep_override():
        return 1
    value = o.value()
    if isinstance(value, RangeSweep):
        start, stop, step = (float(v) for v in (value.start or 0, value.stop or 0, value.step))
        return max(0, math.ceil((stop - start) / step)) if step else 0
    return sum(1 for _ in o.sweep_iterator())


def _check_composed(chosen: list[str], overrides: Sequence[Override]) -> DictConfig:
    groups = [c for c, o in zip(chosen, overrides, strict=True) if _selects(o) or c.startswith(("hydra", "+", "~"))]
    base = composed(groups)
    for c, o in zip(chosen, overrides, strict=True):
        if c not in groups:
            _check_key(str(o.key_or_group), base, c)
    config = composed(chosen)
    typed = composed([c for c, o in zip(chosen, overrides, strict=True) if str(o.key_or_group).startswith("hydra")])
    _check_hydra(config, typed)
    _refuse_targets(config)
    return config


def _selects(o: Override) -> bool:
    return str(o.key_or_group) in (*GROUPS, "experiment")


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration with Hydra's own node, or ConfigError."""
    try:
        return compose(CONFIG_NAME, overrides=list(overrides), return_hydra_config=True)
    except Exception as error:  # Hydra raises almost anything for what a user may write
        guilty = [o for o in overrides if o in str(error)]
        guilty += [o for o in overrides if o.lstrip("+").startswith("experiment=")]
        raise explained(error, where=guilty[0] if guilty else "configuration") from None


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
            if inside in (*SEVERAL, "") and i < len(parts) - 1 and inside:
                raise ConfigError(
                    f"no {inside} labelled {part!r} in this study", where=written, fix=did_you_mean(part, names)
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


def _first_line(error: BaseException) -> str:
    return next((ln.strip() for ln in str(error).splitlines() if ln.strip()), type(error).__name__)
