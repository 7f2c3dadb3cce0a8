"""The ``xai`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from xai_framework.cli import catalogue
from xai_framework.core.errors import XaiError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did its work, 1 for a user's mistake, which is explained on stderr."""
    parser = argparse.ArgumentParser(prog="xai", description="Compare attribution methods for image classifiers.")
    catalogue.add_parsers(parser.add_subparsers(title="commands", required=True, metavar="command"))
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except XaiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
