"""Variables of the environment in a config: ``${oc.env:NAME}`` may choose, but it may not carry a secret.

A parameter decides results, so it is part of their identity and is stored with them. A secret has no place there: a
plugin that needs one reads it itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from xai_framework.core.environment import looks_secret, remember

_NONE_GIVEN = object()

REFUSED = "would store a secret: variable"


@contextlib.contextmanager
def without_secrets() -> Iterator[None]:
    """Within this, resolving a variable that looks like a secret is an error, by whatever detour it is named.

    The values of all others are remembered, so that records hold their names.
    """

    def env(name: str, default: object = _NONE_GIVEN) -> object:
        if looks_secret(name):
            raise ValueError(f"{REFUSED} {name!r}")
        value = oc.env(name) if default is _NONE_GIVEN else oc.env(name, default)
        remember(name, value)
        return value

    OmegaConf.register_new_resolver("oc.env", env, replace=True, use_cache=False)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True, use_cache=False)
