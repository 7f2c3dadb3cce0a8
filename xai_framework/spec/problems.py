"""What Hydra and OmegaConf complain of, in words a user can act on."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.spec.environment import REFUSED
from xai_framework.spec.nodes import GROUPS

_SECOND_TO_ALL = ("full_key:", "object_type=", "reference_type=", "Set the environment variable", "See https://")
_LONGEST = 240
_RESOLVERS = ("oc.env", "oc.select", "oc.decode", "oc.create", "now", "hydra")


def explained(error: Exception, config: DictConfig | None = None, where: str = "") -> ConfigError:
    """A ConfigError that names the key; ``config`` is what was to be resolved, where there is one."""
    text = _text(error)
    key = str(error.full_key or "") if isinstance(error, OmegaConfBaseException) else ""
    key = key or where or (text.split("'")[1] if text.count("'") > 1 else "")
    if isinstance(error, RecursionError):
        return ConfigError("is nested too deep, or its defaults name each other in a circle", where=key or "defaults")
    if found := re.search(r"Environment variable '(.*?)' not found", text):
        fix = f"set it, or give a value in its place: ${{oc.env:{found[1]},VALUE}}"
        return ConfigError(f"variable {found[1]} of the environment is not set", where=key, fix=fix)
    if found := re.search(f"{REFUSED} '(.*?)'", text):
        fix = "a plugin that needs it reads os.environ itself; if it is no secret, give the variable another name"
        return ConfigError(f"{REFUSED} {found[1]} of the environment", where=key, fix=fix)
    if "Recursive interpolation" in text:
        return ConfigError(f"refers to itself: {_chain(key, config)}", where=key, fix="give one of them a value")
    if found := re.search(r"Interpolation key '(.*?)' not found", text):
        names = [str(k) for k in config if k != "hydra"] if config is not None else []
        return ConfigError(f"refers to {found[1]!r}, which is not there", where=key, fix=did_you_mean(found[1], names))
    if found := re.search(r"Unsupported interpolation type (\S+)", text):
        return ConfigError(f"no resolver {found[1]!r}", where=key, fix=did_you_mean(found[1], _RESOLVERS))
    if found := re.search(r"Could not (?:load|find) '(\w+)/([^']+)'", text):
        fix = f"xai list {found[1]}s shows the names" if found[1] in GROUPS else ""
        return ConfigError(f"no {found[1]} {found[2]!r}", where=key, fix=fix)
    return ConfigError(text, where=key)


def unclosed(argument: str) -> str:
    """Which bracket or quote has no partner, and where; empty where all have one. Shells often eat one."""
    waiting: list[tuple[str, int]] = []
    quote = ""
    for place, letter in enumerate(argument, 1):
        if quote:
            quote = "" if letter == quote and argument[place - 2] != "\\" else quote
            if not quote:
                waiting.pop()
        elif letter in "'\"":
            quote = letter
            waiting.append((letter, place))
        elif letter in "[({":
            waiting.append((letter, place))
        elif letter in "])}" and (not waiting or waiting.pop()[0] != _PARTNER[letter]):
            return f"{letter!r} at character {place} closes nothing"
    return f"{waiting[-1][0]!r} at character {waiting[-1][1]} is not closed" if waiting else ""


_PARTNER = {"]": "[", ")": "(", "}": "{"}


def _text(error: Exception) -> str:
    """All that is said, on one line; the first line alone often only says that something is wrong."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(_SECOND_TO_ALL))
    return said[:_LONGEST] or type(error).__name__


def _chain(key: str, config: DictConfig | None) -> str:
    """``seed -> threads -> seed``, as far as it can be followed."""
    seen = [key]
    plain: Any = OmegaConf.to_container(config, resolve=False) if config is not None else None
    while len(seen) < 20:
        node = plain
        for part in seen[-1].split("."):
            node = node.get(part) if isinstance(node, dict) else None
        found = re.search(r"\$\{([\w.]+)\}", node) if isinstance(node, str) else None
        if found is None:
            break
        seen.append(found[1])
        if found[1] in seen[:-1]:
            break
    return " -> ".join(seen)
