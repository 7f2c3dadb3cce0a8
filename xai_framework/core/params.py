"""Typed plugin parameters: one dataclass field holds the type, the default, the range and the documentation."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NewType

from xai_framework.core.errors import ConfigError, did_you_mean

File = NewType("File", str)
"""A path parameter whose file's content, not its name, is part of a result's identity."""

Scalar = bool | int | float | str | None


def param(
    default: Any = dataclasses.MISSING,  # noqa: ANN401 - whatever the field's type says
    *,
    doc: str,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:  # noqa: ANN401 - same as dataclasses.field
    """A documented, range-checked field of a plugin. Without a default it must be given, by keyword.

    ``ge``/``gt``/``le``/``lt`` bound numbers (every element, for a tuple). Choices come from ``Literal`` types.
    """
    # keyword-only: a required parameter may then follow inherited ones that have defaults
    required = default is dataclasses.MISSING
    metadata = {"doc": doc, "ge": ge, "gt": gt, "le": le, "lt": lt}
    return dataclasses.field(default=default, kw_only=required, metadata=metadata)


@dataclass(frozen=True)
class Param:
    """What is known of one parameter without importing its class; survives a trip through JSON.

    ``kinds`` holds any of ``bool int float str file`` or one plugin kind (``method``, ...) for a nested plugin.
    ``default`` of a nested plugin is the class's registry name with its own parameters left at their defaults.
    """

    name: str
    kinds: tuple[str, ...]
    doc: str = ""
    default: Any = None
    required: bool = False
    optional: bool = False
    many: bool = False
    choices: tuple[Scalar, ...] = ()
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    @property
    def nested(self) -> str | None:
        """The plugin kind of a nested plugin (``method``), or None for plain values."""
        return None if set(self.kinds) <= set(_SCALARS) else self.kinds[0]

    @property
    def range(self) -> str:
        """The allowed range in words, e.g. ``1..10000`` or ``> 0``; empty when unbounded."""
        if self.ge is not None and self.le is not None:
            return f"{_number(self.ge)}..{_number(self.le)}"
        bounds = ((">=", self.ge), (">", self.gt), ("<=", self.le), ("<", self.lt))
        return " and ".join(f"{sign} {_number(bound)}" for sign, bound in bounds if bound is not None)

    @property
    def type_text(self) -> str:
        """The type in words, e.g. ``int``, ``none | max_abs | l2``, ``list of float``, ``path or null``."""
        text = " | ".join(str(c) for c in self.choices) or " or ".join("path" if k == "file" else k for k in self.kinds)
        text = f"list of {text}" if self.many else text
        return f"{text} or null" if self.optional else text

    def check(self, value: Any, where: str) -> Any:  # noqa: ANN401 - any YAML value comes in
        """The value in its declared type, or ConfigError naming ``where``.

        An int is accepted where a float is declared; nothing else is converted (``"0.2"`` is not a number).
        """
        if value is None:
            if self.optional:
                return None
            raise ConfigError(f"no value given, expected {self.type_text}", where=where, fix=self._default_text())
        if not self.many:
            return self._check_one(value, where)
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            raise ConfigError(f"empty list, expected {self.type_text}", where=where)
        return tuple(self._check_one(v, f"{where}[{i}]" if len(values) > 1 else where) for i, v in enumerate(values))

    def _wants_quotes(self, value: object) -> bool:
        """Whether YAML took a text for something else, as ``2024``."""
        return set(self.kinds) == {"str"} and isinstance(value, int | float)

    def _check_one(self, value: Any, where: str) -> Scalar:  # noqa: ANN401
        if self.choices:
            # compared with their types: True == 1, but a truth value is no number
            if any(type(value) is type(choice) and value == choice for choice in self.choices):
                return typing.cast("Scalar", value)
            raise ConfigError(f"{value!r} is not a valid value", where=where, fix=did_you_mean(value, self.choices))
        if type(value) is int and abs(value) >= _LARGEST:
            raise ConfigError("the number is too large", where=where, fix=self._default_text())
        if "float" in self.kinds and type(value) is int:
            value = float(value) if "int" not in self.kinds else value
        if not any(type(value) is _SCALARS[k] for k in self.kinds if k in _SCALARS):
            raise ConfigError(
                f"expected {self.type_text}, got {value!r} ({type(value).__name__})",
                where=where,
                fix=f"quote it: '{where}=\"{value}\"'" if self._wants_quotes(value) else self._default_text(),
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{value} is not a finite number", where=where, fix=self._default_text())
        if isinstance(value, int | float) and not isinstance(value, bool) and not self._inside(value):
            raise ConfigError(f"{value} is out of range", where=where, fix=f"allowed: {self.range}")
        if isinstance(value, str) and "\x00" in value:
            raise ConfigError("contains a NUL character", where=where)
        return typing.cast("Scalar", value)

    def _inside(self, value: float) -> bool:
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def _default_text(self) -> str:
        allowed = f"allowed: {self.range}, " if self.range else ""
        return f"{allowed}it must be given" if self.required else f"{allowed}default: {self.default}"


def _number(value: float) -> str:
    """Whole numbers with all their digits."""
    return str(int(value)) if value == int(value) else f"{value:g}"


_LARGEST = 2**63  # beyond, an int neither fits a stored number nor (past 2**1024) a float
_SCALARS: Mapping[str, type] = {"bool": bool, "int": int, "float": float, "str": str, "file": str}
_TYPES = {bool: "bool", int: "int", float: "float", str: "str", File: "file"}


def params_of(cls: type) -> tuple[Param, ...]:
    """The parameters of a plugin class, in order of its dataclass fields.

    Raises TypeError for a class that is no dataclass or a field whose type no config can express.
    """
    if "__dataclass_fields__" not in cls.__dict__ and not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__name__} is not a dataclass; put @dataclass(frozen=True) above it")
    hints = typing.get_type_hints(cls)
    return tuple(_param_of(cls, f, hints[f.name]) for f in dataclasses.fields(cls) if f.init)


def _param_of(cls: type, f: dataclasses.Field[Any], hint: object) -> Param:
    default: Any = f.default
    if default is dataclasses.MISSING and f.default_factory is not dataclasses.MISSING:
        default = typing.cast("Callable[[], Any]", f.default_factory)()
    required = default is dataclasses.MISSING
    optional, many, kinds, choices = _read_type(cls, f.name, hint)
    meta = {k: f.metadata.get(k) for k in ("ge", "gt", "le", "lt")}
    return Param(
        name=f.name,
        kinds=kinds,
        doc=f.metadata.get("doc", ""),
        default=None if required else default,
        required=required,
        optional=optional,
        many=many,
        choices=choices,
        **meta,
    )


def _read_type(cls: type, name: str, hint: object) -> tuple[bool, bool, tuple[str, ...], tuple[Scalar, ...]]:
    """(optional, many, kinds, choices) of one annotation."""
    optional = many = False
    alternatives = _alternatives(hint)
    if type(None) in alternatives:
        optional = True
        alternatives = tuple(a for a in alternatives if a is not type(None))
    if len(alternatives) == 1 and typing.get_origin(alternatives[0]) is tuple:
        args = typing.get_args(alternatives[0])
        if len(args) == 2 and args[1] is Ellipsis:
            many, alternatives = True, _alternatives(args[0])
    if len(alternatives) == 1 and typing.get_origin(alternatives[0]) is typing.Literal:
        choices = typing.get_args(alternatives[0])
        return optional or None in choices, many, ("str",), tuple(c for c in choices if c is not None)
    kinds = tuple(_TYPES.get(a) or getattr(a, "kind", "") for a in alternatives)
    if not all(kinds):
        raise TypeError(
            f"{cls.__name__}.{name}: type {hint} cannot be written in a config; "
            "use bool, int, float, str, File, Literal, tuple[X, ...], X | None or a plugin interface"
        )
    return optional, many, kinds, ()


def _alternatives(hint: object) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)
