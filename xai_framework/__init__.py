"""A pluggable explainer framework for image classifiers.

``explain`` explains pictures from Python, ``open_run`` reads what ``xai run`` stored. Both load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai_framework.api import Explanation as Explanation
    from xai_framework.api import explain as explain
    from xai_framework.store import Run as Run
    from xai_framework.store import open_run as open_run

__version__ = "0.1.0"

_HOME = {"explain": "api", "Explanation": "api", "open_run": "store", "Run": "store"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
