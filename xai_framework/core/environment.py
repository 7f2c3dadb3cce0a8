"""What a configuration took from the environment: used as it is, recorded as it was written.

A record then tells nobody where a machine keeps its data, and another machine finds its own. Only what decides a
result's values is stored resolved, in the identity of its cell; so variables that look like secrets are refused there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

_SHORTEST = 4
"""Shorter values are not looked for within a text: nearly every text holds them."""

_WORDS = r"secrets?|tokens?|\w*passw(or)?ds?|passwd|passphrase|pwd|credentials?|auth|(api|access|private)?keys?"
_SECRET = re.compile(rf"(^|_)({_WORDS})(_|$|\d)", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{oc\.env:(\w+)\}")
_taken: dict[str, str] = {}


def looks_secret(name: str) -> bool:
    """Whether a variable's name says that its value is nobody's business."""
    return _SECRET.search(name) is not None


def remember(name: str, value: object) -> None:
    """A configuration of this process holds the value of variable ``name``."""
    if isinstance(value, str) and value and os.environ.get(name) == value:
        _taken[value] = f"${{oc.env:{name}}}"


def veiled(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The same data with every value taken from the environment as the reference that it was written as."""
    if isinstance(value, Mapping):
        return {k: veiled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [veiled(v) for v in value]
    if not isinstance(value, str) or value in _taken:
        return _taken.get(value, value) if isinstance(value, str) else value
    long = sorted((v for v in _taken if len(v) >= _SHORTEST), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, long)), lambda found: _taken[found[0]], value) if long else value


def unveiled(value: Any) -> Any:  # noqa: ANN401
    """``veiled`` undone with this process's environment; what it does not have, or may not tell, stays as it is."""
    if isinstance(value, Mapping):
        return {k: unveiled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [unveiled(v) for v in value]
    return _REFERENCE.sub(_value, value) if isinstance(value, str) else value


def _value(found: re.Match[str]) -> str:
    name = found[1]
    if looks_secret(name) or name not in os.environ:
        return found[0]
    remember(name, os.environ[name])
    return os.environ[name]
