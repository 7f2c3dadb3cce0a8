"""Plugin kinds and the rule for plugin names."""

from __future__ import annotations

import re

from xai_framework.core.errors import PluginError, did_you_mean

KINDS = ("method", "backbone", "dataset", "target", "renderer", "metric", "executor")

INTERFACES = {
    "method": "Explainer",
    "backbone": "ModelAdapter",
    "dataset": "Dataset",
    "target": "Target",
    "renderer": "Renderer",
    "metric": "Metric",
    "executor": "Executor",
}
"""The class of ``xai_framework.core`` a plugin of each kind derives from."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")

# ``name`` is the key that holds a plugin's name in a config; the others YAML or Hydra read as null, booleans, numbers.
_RESERVED = frozenset({"name", "null", "none", "true", "false", "yes", "no", "on", "off", "nan", "inf"})


def plural(kind: str) -> str:
    """``method`` -> ``methods``: entry-point groups and command-line words are plural."""
    return f"{kind}s"


def kind_of(word: str) -> str:
    """``method`` or ``methods`` -> ``method``. Raises PluginError for any other word."""
    for kind in KINDS:
        if word in (kind, plural(kind)):
            return kind
    raise PluginError(f"no kind of plugin is called {word!r}", fix=did_you_mean(word, KINDS))


def bad_name(name: str) -> str:
    """Why ``name`` cannot name a plugin; empty when it can."""
    if name in _RESERVED:
        return f"{name!r} is a reserved word"
    if not _NAME.fullmatch(name):
        return f"{name!r} is no valid plugin name: lower-case letters a-z, digits and underscores, a letter first"
    return ""


def spelling(name: str) -> str:
    """What spellings of one name have in common: ``Grad-CAM++`` and ``gradcam_plus_plus`` -> ``gradcamplusplus``."""
    return re.sub(r"[\W_]", "", name.casefold().replace("+", "plus"))


def snake_case(class_name: str) -> str:
    """``MyCam`` -> ``my_cam``, ``LRPEpsilon`` -> ``lrp_epsilon``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()
