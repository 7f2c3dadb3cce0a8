"""Variables of the environment in a config: ``${oc.env:NAME}`` may choose, but it may not carry a secret.

A parameter decides results, so it is part of their identity and is stored with them, resolved. A secret has no place
there: a plugin that needs one reads it itself. Everything else of a config is stored as it was written.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

_WORDS = r"secrets?|tokens?|\w*passw(or)?ds?|passwd|passphrase|pwd|credentials?|auth|(api|access|private)?keys?"
_SECRET = re.compile(rf"(^|_)({_WORDS})(_|$|\d)", re.IGNORECASE)
_NONE_GIVEN = object()

REFUSED = "would store a secret: variable"


def looks_secret(name: str) -> bool:
    """Whether a variable's name says that its value is nobody's business."""
    return _SECRET.search(name) is not None


@contextlib.contextmanager
def without_secrets() -> Iterator[None]:
    """Within this, resolving a variable that looks like a secret is an error, by whatever detour it is named."""

    def env(name: str, default: object = _NONE_GIVEN) -> object:
        if looks_secret(name):
            raise ValueError(f"{REFUSED} {name!r}")
        return oc.env(name) if default is _NONE_GIVEN else oc.env(name, default)

    OmegaConf.register_new_resolver("oc.env", env, replace=True, use_cache=False)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True, use_cache=False)
