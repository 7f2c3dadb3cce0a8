"""What is known of a plugin without importing it; survives a trip through JSON."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xai_framework.core.errors import ConfigError
from xai_framework.core.params import Param
from xai_framework.registry.names import KINDS

FORMAT = 1
"""Raised whenever the JSON form below changes."""

_SCALARS = {"bool", "int", "float", "str", "file"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Schema:
    """One plugin: its parameters, its documentation, and what identifies its code.

    ``doc`` is the class's docstring, ``headline`` the first paragraph of its module's (a method's
    paper). ``resolves`` and
    ``expands`` say whether the class overrides ``Plugin.resolved`` and ``Plugin.expanded``; where they are false an
    instance need not be made. ``editable``: its source lies outside the interpreter's package folders. ``sources`` maps
    file -> sha256, ``assets`` the declared name -> sha256, its path being relative to ``asset_folder``. ``broken`` is
    the reason why the plugin cannot be used; then little else is known.
    """

    kind: str
    name: str
    doc: str = ""
    headline: str = ""
    params: tuple[Param, ...] = ()
    version: int = 1
    caption: str = "{name}"
    stochastic: bool = False
    class_specific: bool = True
    resolves: bool = False
    expands: bool = False
    distribution: str = ""
    distribution_version: str = ""
    editable: bool = False
    local: bool = False
    sources: dict[str, str] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)
    asset_folder: str = ""
    broken: str = ""

    @property
    def summary(self) -> str:
        """The first paragraph of ``doc``, on one line."""
        return first_paragraph(self.doc)

    def param(self, name: str) -> Param | None:
        """The parameter of this name, if there is one."""
        return next((p for p in self.params if p.name == name), None)


def first_paragraph(doc: str) -> str:
    """The text up to the first blank line, on one line."""
    return " ".join(doc.strip().partition("\n\n")[0].split())


def to_json(schema: Schema) -> dict[str, Any]:
    """Plain dicts, lists and scalars."""
    plain: dict[str, Any] = dataclasses.asdict(schema)
    for p in plain["params"]:
        p["kinds"], p["choices"] = list(p["kinds"]), list(p["choices"])
        p["default"] = list(p["default"]) if isinstance(p["default"], tuple) else p["default"]
    plain["params"] = list(plain["params"])
    return plain


def from_json(plain: object) -> Schema:
    """The inverse of :func:`to_json`. Raises ValueError for anything that ``to_json`` could not have written."""
    values = _exact(plain, Schema)
    values["params"] = tuple(_param(p) for p in _list(values["params"]))
    for key in ("sources", "assets"):
        hashes = values[key]
        _expect(isinstance(hashes, dict) and all(isinstance(k, str) for k in hashes), key)
        _expect(all(isinstance(h, str) and _SHA256.fullmatch(h) for h in hashes.values()), key)
    for f in dataclasses.fields(Schema):
        if f.type in _PLAIN:
            _expect(type(values[f.name]) is _PLAIN[str(f.type)], f.name)
    _expect(values["kind"] in KINDS, "kind")
    return Schema(**values)


_PLAIN = {"str": str, "bool": bool, "int": int}


def _param(plain: object) -> Param:
    values = _exact(plain, Param)
    for key in ("kinds", "choices"):
        values[key] = tuple(_list(values[key]))
    _expect(all(isinstance(k, str) for k in values["kinds"]), "kinds")
    for key in ("name", "doc"):
        _expect(isinstance(values[key], str), key)
    for key in ("required", "optional", "many"):
        _expect(isinstance(values[key], bool), key)
    for key in ("ge", "gt", "le", "lt"):
        _expect(values[key] is None or type(values[key]) in (int, float), key)
    kinds = set(values["kinds"])
    _expect(bool(kinds) and (kinds <= _SCALARS or (len(kinds) == 1 and kinds <= set(KINDS))), "kinds")
    _expect(all(type(c) in (str, int, bool) for c in values["choices"]), "choices")
    if isinstance(values["default"], list):
        values["default"] = tuple(values["default"])
    p = Param(**values)
    if p.nested is None and not p.required:
        try:
            _expect(p.check(p.default, p.name) == p.default, "default")
        except ConfigError as error:
            raise ValueError(str(error)) from error
    return p


def _exact(plain: object, cls: type) -> dict[str, Any]:
    """A copy of a dict that has exactly the fields of a dataclass as keys."""
    names = {f.name for f in dataclasses.fields(cls)}
    if not isinstance(plain, Mapping) or set(plain) != names:
        raise ValueError(f"not the JSON form of {cls.__name__}")
    return dict(plain)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list, got {value!r}")
    return value


def _expect(holds: bool, key: str) -> None:
    if not holds:
        raise ValueError(f"bad value for {key}")
