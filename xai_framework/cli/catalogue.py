"""``xai list`` and ``xai show``: which plugins there are, and what one of them takes. Neither needs torch.

(``show`` imports a plugin the first time it is asked for it, or when its source has changed.)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import ConfigError, PluginError, did_you_mean
from xai_framework.registry import KINDS, Outline, Registry, Schema, kind_of, plural
from xai_framework.registry.schema import first_paragraph, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from xai_framework.core.params import Param

_PLUGIN_FILES = "plugins="


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the two commands; each parser sets ``run`` to its function."""
    files = "plugins=[./my_cam.py] adds the plugins of local files"
    listing = subparsers.add_parser("list", help="the plugins there are", epilog=files)
    listing.add_argument("words", nargs="*", metavar="kind", help=f"one of: {', '.join(plural(k) for k in KINDS)}")
    listing.add_argument("--check", action="store_true", help="import every plugin to see whether it works (slower)")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=list_command)
    show = subparsers.add_parser("show", help="one plugin: parameters, defaults, ranges, paper", epilog=files)
    show.add_argument("words", nargs="+", metavar="[kind] name", help="method smoothgrad, or just smoothgrad")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=show_command)


def plugin_files(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The paths of all ``plugins=[a.py,b.py]`` (or ``plugins=a.py``) among command-line words, and the other words."""
    files: list[str] = []
    rest: list[str] = []
    for word in words:
        if not word.startswith(_PLUGIN_FILES):
            rest.append(word)
            continue
        value = word.removeprefix(_PLUGIN_FILES).strip()
        if value.startswith("[") != value.endswith("]"):
            raise ConfigError(f"unbalanced brackets in {word!r}", where="plugins", fix="write plugins=[./my_cam.py]")
        parts = value[1:-1].split(",") if value.startswith("[") else [value]
        found = [part.strip().strip("'\"") for part in parts]
        if not all(found):
            raise ConfigError("a path is empty", where="plugins", fix="write plugins=[./my_cam.py]")
        files += found
    return files, rest


def list_command(args: argparse.Namespace) -> int:
    """Print every plugin, or those of one kind; broken ones with the reason."""
    files, words = plugin_files(args.words)
    if len(words) > 1:
        raise ConfigError(f"one kind at a time, got {' '.join(words)}")
    kinds = (kind_of(words[0]),) if words else KINDS
    registry = Registry(files)
    found = {kind: registry.outlines(kind, check=args.check) for kind in kinds}
    if args.json:
        _print_json({kind: [dataclasses.asdict(o) for o in outlines] for kind, outlines in found.items()})
    else:
        _print(_listing(plural(kind), outlines) for kind, outlines in found.items() if outlines or words)
    return 0


def show_command(args: argparse.Namespace) -> int:
    """Print what is known of one plugin."""
    files, words = plugin_files(args.words)
    registry = Registry(files)
    if not words or len(words) > 2:
        raise ConfigError("name one plugin", fix="xai show method smoothgrad")
    kind = kind_of(words[0]) if len(words) == 2 else _kind_with(registry, words[0])
    schema = registry.schema(kind, registry.canonical(kind, words[-1]))
    if args.json:
        _print_json(to_json(schema))
    else:
        aliases = [a for a, name in registry.aliases(kind).items() if name == schema.name]
        _print(_page(schema, aliases, is_control=kind == "method" and schema.name in registry.controls))
    return 0


def _kind_with(registry: Registry, name: str) -> str:
    """The only kind that has a plugin of this name."""
    kinds = [kind for kind in KINDS if registry.canonical(kind, name) in registry.names(kind)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise PluginError(
            f"{name!r} is a {' and a '.join(kinds)}", fix=" or ".join(f"xai show {kind} {name}" for kind in kinds)
        )
    names = sorted({n for kind in KINDS for n in registry.names(kind)})
    raise PluginError(f"no plugin {name!r}", fix=did_you_mean(name, names))


def _listing(title: str, outlines: Sequence[Outline]) -> RenderableType:
    if not outlines:
        return _plain(f"no {title} are installed")
    rows = [(o.name, f"BROKEN: {o.broken}" if o.broken else o.summary, _origin(o)) for o in outlines]
    return _table(("name", "what it is", "from"), rows, title)


def _page(schema: Schema, aliases: Sequence[str], *, is_control: bool) -> list[RenderableType]:
    """Heading, documentation, properties and the parameters of one plugin."""
    parts: list[Any] = [f"{schema.name} ({schema.kind}, {_origin(schema)})"]
    parts += [schema.headline] if schema.headline else []
    parts += [first_paragraph(paragraph) for paragraph in schema.doc.split("\n\n") if paragraph]
    facts = [f"version {schema.version}"] + ([f"also called {', '.join(aliases)}"] if aliases else [])
    if schema.kind == "method":
        facts.append("uses noise" if schema.stochastic else "no noise")
        facts.append("class-specific" if schema.class_specific else "the same for every class")
        facts += ["a control: it knows nothing of the model"] if is_control else []
    parts.append(", ".join(facts))
    if schema.params:
        rows = [(p.name, p.type_text, _default(p), p.range, p.doc) for p in schema.params]
        parts.append(_table(("parameter", "type", "default", "range", "meaning"), rows))
    else:
        parts.append("no parameters")
    return [_plain(f"{part}\n") if isinstance(part, str) else part for part in parts]


def _origin(plugin: Outline | Schema) -> str:
    return f"{plugin.distribution} {plugin.distribution_version}".strip()


def _default(p: Param) -> str:
    """``0.15``, ``gradient``, ``gradcam (relu=false)``, or ``required``."""
    if p.required:
        return "required"
    if p.nested is None or p.default is None:
        return _value(p.default)
    configs = p.default if p.many else [p.default]
    return ", ".join(_nested(config) for config in configs)


def _nested(config: dict[str, Any]) -> str:
    given = ", ".join(f"{key}={_value(value)}" for key, value in config.items() if key != "name")
    return f"{config['name']} ({given})" if given else str(config["name"])


def _value(value: object) -> str:
    """As it would be written in a config."""
    return value if isinstance(value, str) and value else json.dumps(value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    return table


def _plain(text: str) -> RenderableType:
    """Text of a plugin's author, which is no markup."""
    from rich.text import Text

    return Text("".join(c for c in text if c.isprintable() or c == "\n"))


def _print(parts: Iterable[RenderableType]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for part in parts:
        console.print(part)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
