"""The user's own ./conf, looked at before Hydra reads it: each mistake is named with its file, line and column."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from xai_framework.core.errors import ConfigError

LARGEST_CONFIG = 1 << 20
"""Bytes of one file."""

MOST_VALUES = 20_000
"""In one file, every alias counted as what it stands for: six lines of aliases can stand for more than fits memory."""

DEEPEST = 40

_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")}
_UNCLEAR_NUMBER = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9_.]+)+)")


def check_files(folder: Path = Path("conf")) -> None:
    """Raises ConfigError for the first file that cannot be meant as it would be read."""
    for file in sorted(_files(folder)):
        _check_file(file)


def _files(folder: Path) -> Iterator[Path]:
    """Links are not followed into other folders, as a loop of them has no end."""
    for root, folders, names in os.walk(folder):
        for name in (*names, *folders):
            path = Path(root) / name
            if path.suffix == ".yaml":
                if not path.is_file():
                    what = "a link to nowhere" if path.is_symlink() else "no file"
                    raise ConfigError(f"is {what}", where=str(path), fix="remove it")
                yield path


def _check_file(file: Path) -> None:
    text = _text(file)
    if re.match(r"\s*#[ \t]*@package[ \t]+\S+[ \t]+\S", text):
        raise ConfigError("'# @package' names one package", where=f"{file}:1:1", fix="write: # @package _global_")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ConfigError(f"is nested more than {DEEPEST} deep", where=_spot(file, event.start_mark))
            _check_event(event, file)
        for number, root in enumerate(yaml.compose_all(text, Loader=get_yaml_loader())):
            if number:
                raise ConfigError("holds a second document", where=_spot(file, root.start_mark), fix="remove '---'")
            if not isinstance(root, yaml.MappingNode) and root.tag != "tag:yaml.org,2002:null":
                raise ConfigError("is no mapping", where=_spot(file, root.start_mark), fix="write key: value")
            _Walk(file).count(root, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = text.splitlines()[mark.line].strip() if mark and mark.line < len(text.splitlines()) else ""
        fix = "indent with spaces" if "\\t" in str(error.problem) else "mend the YAML"
        raise ConfigError(f"{error.problem}: {line[:80]!r}", where=_spot(file, mark), fix=fix) from None
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())[:160]
        raise ConfigError(what, where=str(file), fix="save it as UTF-8 text") from None


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > LARGEST_CONFIG:
            raise ConfigError(f"has more than {LARGEST_CONFIG} bytes", where=str(file), fix="split it, or shorten it")
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is no UTF-8 text: {error.reason}", where=str(file), fix="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(file)) from None


def _check_event(event: Any, file: Path) -> None:  # noqa: ANN401 - yaml has no types
    """What nothing in a file may be, wherever it stands."""
    tag = getattr(event, "tag", None)
    if tag and tag not in _PLAIN and tag != "!":
        raise ConfigError(f"tag {tag} is not allowed", where=_spot(file, event.start_mark), fix="remove it")
    if isinstance(event, yaml.ScalarEvent) and event.value == "_target_":
        raise ConfigError(
            "_target_ is not allowed", where=_spot(file, event.start_mark), fix="register a plugin and give its name"
        )


class _Walk:
    """Counts what a document stands for; each shared part is looked at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._counted: dict[int, int] = {}
        self._open: set[int] = set()

    def count(self, node: Any, depth: int) -> int:  # noqa: ANN401 - yaml.Node
        """Number of values below ``node``, itself included."""
        if id(node) in self._counted:
            return self._counted[id(node)]
        if id(node) in self._open:
            raise self._error("an alias holds itself", node)
        if depth > DEEPEST:
            raise self._error(f"is nested more than {DEEPEST} deep", node)
        self._open.add(id(node))
        total = 1 + sum(self.count(part, depth + 1) for part in self._parts(node))
        if total > MOST_VALUES:
            fix = "are aliases meant to multiply?"
            raise self._error(f"stands for more than {MOST_VALUES} values", node, fix)
        self._open.remove(id(node))
        self._counted[id(node)] = total
        return total

    def _parts(self, node: Any) -> Iterator[Any]:  # noqa: ANN401
        if isinstance(node, yaml.SequenceNode):
            yield from node.value
        elif isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            for key, value in node.value:
                yield from (key, value)
        elif node.style is None:
            self._check_plain(node)

    def _check_keys(self, node: Any) -> None:  # noqa: ANN401
        seen: dict[str, Any] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "":
                raise self._error("a key is a text", key, "write key: value")
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                kind = key.tag.rsplit(":", 1)[1]
                read = {"null": "nothing", "bool": _meant(key.value)}.get(kind, "a number")
                raise self._error(f"{key.value!r} as a key is read as {read}", key, f"quote it: '{key.value}'")
            if key.value in seen:
                first = seen[key.value].start_mark.line + 1
                raise self._error(f"{key.value!r} is given twice, first in line {first}", key, "remove one of them")
            seen[key.value] = key

    def _check_plain(self, node: Any) -> None:  # noqa: ANN401
        """Texts that YAML takes for something else: ``012`` is ten, ``no`` is false."""
        kind, text = node.tag.rsplit(":", 1)[1], node.value
        if kind == "bool" and text.lower() not in ("true", "false"):
            fix = f"quote it: '{text}', or write {_meant(text)}"
            raise self._error(f"{text!r} is read as {_meant(text)}", node, fix)
        if kind in ("int", "float") and _UNCLEAR_NUMBER.fullmatch(text):
            fix = f"quote it: '{text}', or write a plain number"
            raise self._error(f"{text!r} is read as another number (YAML counts such in eights or sixties)", node, fix)

    def _error(self, what: str, node: Any, fix: str = "") -> ConfigError:  # noqa: ANN401
        return ConfigError(what, where=_spot(self._file, node.start_mark), fix=fix)


def _meant(text: str) -> str:
    """The truth value that YAML takes a word for."""
    return "true" if text.lower() in ("yes", "on", "true") else "false"


def _spot(file: Path, mark: Any) -> str:  # noqa: ANN401 - yaml.Mark
    return f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
