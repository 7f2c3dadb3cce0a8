"""The ``xai`` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import xai_framework
from xai_framework.cli import catalogue, compare, completion, explain, figure, report, table, upkeep, verify
from xai_framework.core.errors import XaiError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did its work, 1 for a user's mistake, which is explained on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["run"]:
            # everything behind `run` is Hydra's language: overrides, -m, --cfg, --help
            from xai_framework.cli.run import run_command

            return run_command(arguments[1:])
        if arguments[:1] == ["plan"] and not {"-h", "--help"} & set(arguments):
            from xai_framework.cli.plan import plan_command

            return plan_command(arguments[1:])
        args, rest = parser().parse_known_args(arguments)
        if "pictures" in args and not any(r.startswith("-") for r in rest):
            args.pictures += rest  # overrides behind an option; argparse gives up on them
            rest = []
        if rest:
            parser().error(f"unrecognised arguments: {' '.join(rest)}")
        return int(args.run(args))
    except XaiError as error:
        print(f"error[{error.code}] {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads has enough, as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        return 141  # as a shell says of a program that ends by SIGPIPE


def parser() -> argparse.ArgumentParser:
    """All commands. Their code is imported when they run."""
    made = argparse.ArgumentParser(prog="xai", description="Compare attribution methods for image classifiers.")
    made.add_argument("--version", action="version", version=xai_framework.__version__)
    commands = made.add_subparsers(title="commands", required=True, metavar="command")
    run = commands.add_parser(
        "run", help="run a study: method=[gradient,gradcam] backbone=... dataset=... (-m to sweep)", add_help=False
    )
    run.set_defaults(run=lambda _args: 0)
    what = "what a run would do and cost, with the same words behind it: cells, passes, time, memory, disk"
    planned = commands.add_parser(
        "plan",
        help=what,
        description=what,
        usage="xai plan [OVERRIDE ...] [-m] [--json]; the overrides are those of xai run",
    )
    planned.set_defaults(run=lambda _args: 0)
    explain.add_parser(commands)
    catalogue.add_parsers(commands)
    table.add_parser(commands)
    report.add_parser(commands)
    figure.add_parser(commands)
    compare.add_parser(commands)
    verify.add_parser(commands)
    upkeep.add_parsers(commands)
    completion.add_parsers(commands)
    return made


if __name__ == "__main__":
    sys.exit(main())
