"""What a reader of a plugin must find; and how a check fails."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

from xai_framework.core.params import params_of
from xai_framework.core.plugin import Plugin

Subject = TypeVar("Subject")

_PAPER = re.compile(r"arxiv|doi|et al\.|\b(19|20)\d\d\b", re.IGNORECASE)
_EQUATION = re.compile(r"equation|eq\.|section|algorithm", re.IGNORECASE)


def hold(condition: bool, said: str) -> None:
    """Raise AssertionError unless the condition holds; unlike ``assert`` also in an optimised interpreter."""
    if not condition:
        raise AssertionError(said)


def hold_all(checks: Mapping[str, Callable[[Subject], None]], subject: Subject, who: str) -> None:
    """Run every check. Raises AssertionError naming who failed, the check and the finding, also where one raised."""
    for name, check in checks.items():
        try:
            check(subject)
        except AssertionError as error:
            raise AssertionError(f"{who}: {name}: {error}") from None
        except Exception as error:
            raise AssertionError(f"{who}: {name}: raised {type(error).__name__}: {error}") from error


def check_documented(plugin: Plugin, *, paper: bool = False) -> None:
    """A docstring, a doc for every parameter; with ``paper`` also where it was published and which equation it is."""
    cls = type(plugin)
    # a dataclass without a docstring is given its signature
    own = cls.__doc__ if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(") else ""
    hold(bool(own), f"{cls.__name__}: has no docstring; say what it gives, its shape and its sign")
    bare = [p.name for p in params_of(cls) if not p.doc]
    hold(not bare, f"{cls.__name__}: parameters without doc: {', '.join(bare)}; write param(..., doc=...)")
    if paper:
        text = f"{own} {getattr(sys.modules.get(cls.__module__), '__doc__', '')}"
        for what, pattern in (("a paper", _PAPER), ("an equation or section", _EQUATION)):
            hold(bool(pattern.search(text)), f"{cls.__name__}: neither its docstring nor its module's names {what}")
