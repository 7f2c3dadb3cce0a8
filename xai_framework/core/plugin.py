"""What every plugin is: a frozen dataclass whose fields are its parameters."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, Self

from xai_framework.core.errors import ConfigError
from xai_framework.core.params import Param, params_of


class Plugin:
    """Base of Explainer, ModelAdapter, Target, Renderer, Metric and Dataset.

    A subclass is a ``@dataclass(frozen=True)``; its fields, written with :func:`param`, are its parameters: types,
    defaults, ranges and documentation in one place. Values are checked when an instance is made, in Python as from a
    config (ConfigError). ``version`` is raised by its author whenever results change: stored maps of an older version
    are then no longer taken for this plugin's. ``caption`` is how an instance is called in tables and folders, with
    parameters in braces.
    """

    kind: ClassVar[str]
    api: ClassVar[int] = 1
    """The version of the plugin API; a class that states another one than the framework's is refused."""
    version: ClassVar[int] = 1
    caption: ClassVar[str] = "{name}"
    assets: ClassVar[tuple[str, ...]] = ()
    """Files beside the plugin's source (weights, ...) whose content is part of its identity."""

    def __post_init__(self) -> None:
        cls: type = type(self)
        for p in _params(cls):
            # frozen dataclass: a checked value (1 -> 1.0, [a] -> (a,)) replaces the given one
            object.__setattr__(self, p.name, check_value(p, getattr(self, p.name), f"{cls.__name__}.{p.name}"))

    def resolved(self) -> Self:
        """The same plugin with every moving name (``DEFAULT`` weights, ...) replaced by what it stands for today.

        Called once at planning, so that a stored result says what it used. Most plugins have nothing to resolve.
        """
        return self

    def expanded(self) -> tuple[Self, ...]:
        """The single instances a list-valued plugin stands for (``top_k`` gives one target a rank)."""
        return (self,)

    @classmethod
    def example(cls) -> Self:
        """The cheapest meaningful instance; what the conformance kit runs."""
        return cls()

    def replace(self, **changes: object) -> Self:
        """A copy with other parameter values."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


def check_value(p: Param, value: object, where: str) -> object:
    """A parameter's value in its declared type, nested plugins included, or ConfigError naming ``where``."""
    if p.nested is None or (value is None and p.optional):
        return p.check(value, where)
    values = tuple(value) if p.many and isinstance(value, list | tuple) else (value,)
    for one in values:
        if not isinstance(one, Plugin) or one.kind != p.nested:
            raise ConfigError(f"expected a {p.nested}, got {one!r} ({type(one).__name__})", where=where)
    if p.many and not values:
        raise ConfigError(f"empty list, expected {p.type_text}", where=where)
    return values if p.many else value


@functools.cache
def _params(cls: type) -> tuple[Param, ...]:
    return params_of(cls)
