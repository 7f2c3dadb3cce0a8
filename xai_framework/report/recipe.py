"""The command that computes one cell of a study again, made of what is recorded of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from xai_framework.core.errors import XaiError
from xai_framework.registry import Registry
from xai_framework.report.view import RecipeView

_PLAIN = re.compile(r"[A-Za-z_./][\w./+-]*")
_KINDS = ("dataset", "backbone", "target")
_WORDS = ("null", "true", "false", "nan", "inf")


def recipe_of(facts: Mapping[str, Any], registry: Registry) -> RecipeView:
    """``facts`` are a cell's, as a run has them. Parameters that have their defaults are left out."""
    label, method = str(facts["label"]), dict(facts.get("method", {}))
    recipe = facts.get("recipe", {})
    words = [word for kind in _KINDS for word in _plugin(kind, recipe.get(kind), registry)]
    name = str(method.pop("name", label))
    # under the method's own name, whatever its label in the study: labels are no part of what is computed
    words += [f"method=[{name}]", *_parameters("method", name, f"method.{name}", method, registry)]
    words += [f"{k}={written(v)}" for k, v in recipe.items() if k not in _KINDS]
    command = shlex.join(["xai", "run", *words])
    return RecipeView(label, str(facts.get("backbone", "")), str(facts.get("target", "")), command, precision_of(facts))


def precision_of(facts: Mapping[str, Any]) -> str:
    """``bfloat16``, and behind it what was measured where ``precision: auto`` decided on it."""
    precision = str(facts.get("recipe", {}).get("precision", "float32"))
    decided = facts.get("gate")
    if not isinstance(decided, Mapping):
        return precision
    reason, lowest = str(decided.get("reason", "")), decided.get("lowest")
    said = [reason] if reason and not reason.startswith("Spearman") else []
    if type(lowest) in (int, float):
        where = f" at {decided.get('image', '')}, of {decided.get('images', '')} images"
        said.append(f"lowest Spearman {lowest:.4g}{where}")
    return f"{precision} (auto: {'; '.join(said)})" if said else precision


def _plugin(kind: str, config: Mapping[str, Any] | None, registry: Registry) -> Iterator[str]:
    if config:
        name = str(config.get("name", ""))
        yield f"{kind}={name}"
        yield from _parameters(kind, name, kind, {k: v for k, v in config.items() if k != "name"}, registry)


def _parameters(kind: str, name: str, path: str, given: Mapping[str, Any], registry: Registry) -> Iterator[str]:
    try:
        known = {p.name: p for p in registry.schema(kind, name).params}
    except XaiError:  # the plugin is not installed here: everything is said
        known = {}
    for key, value in given.items():
        if isinstance(value, Mapping) and "name" in value:
            inner = str(value["name"])
            if key not in known or known[key].default != inner:
                yield f"{path}.{key}={inner}"
            rest = {k: v for k, v in value.items() if k != "name"}
            inner_kind = (known[key].nested if key in known else None) or kind
            yield from _parameters(inner_kind, inner, f"{path}.{key}", rest, registry)
        elif key not in known or written(value) != written(known[key].default):
            yield f"{path}.{key}={written(value)}"


def written(value: Any) -> str:  # noqa: ANN401 - whatever a config holds
    """A value as Hydra's overrides have it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(written(v) for v in value) + "]"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
