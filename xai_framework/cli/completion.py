"""``xai completion bash``: TAB for commands, plugin names and, behind ``xai run``, everything Hydra completes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from xai_framework.cli.figure import LAYOUTS, SCALES

_TAKE_RUNS = ("table", "figure", "compare", "status", "verify", "repair")
_VALUES = {
    ("figure", "--layout"): LAYOUTS,
    ("figure", "--scale"): SCALES,
    ("figure", "--width"): ("column", "full"),
}

_SCRIPTS = {
    "bash": """\
_xai() {
  COMPREPLY=( $(xai complete -- "${COMP_LINE:0:$COMP_POINT}" 2>/dev/null) )
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//[=@]}
complete -o nospace -o default -F _xai xai
""",
    "zsh": """\
_xai() {
  local -a found
  found=( ${(f)"$(xai complete -- "${BUFFER[1,CURSOR]}" 2>/dev/null)"} )
  compadd -S '' -- $found
}
compdef _xai xai
""",
    "fish": """\
complete -c xai -f -a '(xai complete -- (commandline -cp) 2>/dev/null)'
""",
}


def add_parsers(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``completion`` and the hidden ``complete`` it calls."""
    parser = subparsers.add_parser(
        "completion",
        help='print a completion script: eval "$(xai completion bash)"',
        description='Put eval "$(xai completion bash)" into your shell\'s start-up file.',
    )
    parser.add_argument("shell", choices=sorted(_SCRIPTS))
    parser.set_defaults(run=_script)
    hidden = subparsers.add_parser("complete")
    hidden.add_argument("line")
    hidden.set_defaults(run=_complete)


def _script(args: argparse.Namespace) -> int:
    print(_SCRIPTS[args.shell], end="")
    return 0


def _complete(args: argparse.Namespace) -> int:
    print("\n".join(candidates(args.line)))
    return 0


def candidates(line: str) -> list[str]:
    """What the last word of ``line`` may become."""
    words = line.split()
    last = "" if line.endswith(" ") else words.pop()
    parsers = _commands()
    if len(words) == 1:
        return [c for c in parsers if c.startswith(last) and c != "complete"]
    if words[1] in ("run", "plan") or (words[1] == "explain" and "=" in last):
        return _overrides(" ".join([*words[2:], last]))
    if found := _of_parser(parsers.get(words[1]), words, last):
        return found
    return [n for n in _names(words[1], words[2:]) if n.startswith(last)]


def _commands() -> dict[str, argparse.ArgumentParser]:
    """Every command with its parser, as the command line has them."""
    from xai_framework.cli.main import parser

    commands = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(commands.choices)


def _of_parser(parser: argparse.ArgumentParser | None, words: list[str], last: str) -> list[str]:
    """Options, the values of one that has a few, and runs where a run is asked for; nothing where files are."""
    if parser is None:
        return []
    if last.startswith("-"):
        return sorted(name for name in parser._option_string_actions if name.startswith(last))
    option = parser._option_string_actions.get(words[-1])
    if option is not None and option.nargs != 0:
        values = option.choices or _VALUES.get((words[1], words[-1]), ())
        return [str(v) for v in values if str(v).startswith(last)]
    if words[1] in _TAKE_RUNS:
        runs = (str(p.parent) for p in sorted(Path("outputs/runs").glob("*/run.json")))
        return [run for run in runs if run.startswith(last)]
    return []


def _names(command: str, before: list[str]) -> list[str]:
    from xai_framework.registry import KINDS, Registry, plural

    if command == "completion":
        return sorted(_SCRIPTS)
    if command == "list":
        return [plural(k) for k in KINDS]
    if command == "show" and not before:
        return list(KINDS)
    if command == "show" and before[0] in KINDS:
        return list(Registry().names(before[0]))
    return []


def _overrides(line: str) -> list[str]:
    """Hydra's own completion, over the nodes made from the registry."""
    from hydra import initialize_config_module
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra
    from hydra_plugins import xai_launcher

    from xai_framework.registry import Registry
    from xai_framework.spec.nodes import store_nodes

    xai_launcher.register()
    store_nodes(Registry())
    GlobalHydra.instance().clear()
    with initialize_config_module("xai_framework.conf", version_base="1.3"):
        plugin = BashCompletion(GlobalHydra.instance().config_loader())
        found: list[str] = plugin._query(config_name="config", line=line)
    return sorted(found)
