"""``xai figure``: a stored run as a figure for a paper."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from xai_framework.core.errors import ConfigError

LAYOUTS = ("methods-by-images", "images-by-methods", "samples", "two-rows", "leaderboard", "critical-difference")
SCALES = ("own", "method", "row", "all")
_LOOK = ("dpi", "scale", "colormap", "signed_colormap", "opacity", "percentile", "grey", "labels", "truth")
_HELP = """\
layouts:
  methods-by-images    a row an image: the photograph, then the map of each method
  images-by-methods    the same with rows and columns exchanged
  samples              one image as the number of noisy copies grows (method.smoothgrad.snapshots=[1,2,5,10])
  two-rows             photographs, and the maps of one method below them
  leaderboard          means of the metrics with 95 %% intervals
  critical-difference  mean ranks, joined where they do not differ (Demsar 2006)
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``figure`` to the command line."""
    parser = subparsers.add_parser(
        "figure",
        help="a figure for a paper: PDF and PNG of maps or statistics",
        description="A figure of a stored run for a paper, as PDF and PNG.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", nargs="?", default="outputs", help="a run's folder (the latest run)")
    parser.add_argument("--layout", default=LAYOUTS[0], metavar="NAME", help=f"one of those below ({LAYOUTS[0]})")
    parser.add_argument("--output", metavar="FILE", help=".pdf or .png; both without an ending (RUN/figures/LAYOUT)")
    parser.add_argument("--width", metavar="MM", help="millimetres, column (84) or full (174)")
    parser.add_argument("--dpi", type=int, help="of the PNG (300)")
    what = parser.add_argument_group("what is shown")
    images = "ids in their order, or how many from the first on; an id that is a number is written id:7"
    what.add_argument("--images", nargs="+", metavar="ID", help=images)
    what.add_argument("--methods", nargs="+", metavar="LABEL", help="in this order (all)")
    what.add_argument("--metric", nargs="+", metavar="NAME", help="of leaderboard and critical-difference (all)")
    what.add_argument("--backbone", help="where the run has several")
    what.add_argument("--target", help="where the run has several")
    how = parser.add_argument_group("how maps look")
    scale = "maps that share a colour scale: none, those of a method, of an image (row), all (own)"
    how.add_argument("--scale", metavar="{" + ",".join(SCALES) + "}", help=scale)
    how.add_argument("--colormap", metavar="NAME", help="of magnitudes: any of the cmap catalogue (inferno)")
    how.add_argument("--signed-colormap", metavar="NAME", help="of maps with evidence against (RdBu_r)")
    how.add_argument("--opacity", type=float, help="share of the map's colours, 0 to 1 (0.6)")
    how.add_argument("--percentile", type=float, help="of magnitudes at which colours end; 100: the largest (99)")
    switch = argparse.BooleanOptionalAction
    how.add_argument("--grey", action=switch, help="photographs under maps without their colours (yes)")
    how.add_argument("--labels", action=switch, help="titles and raw ranges (yes)")
    how.add_argument("--truth", action=switch, help="outlines of the true objects (no)")
    parser.set_defaults(run=figure_command)


def figure_command(args: argparse.Namespace) -> int:
    """Make and write the figure; what cannot be seen in it is said below."""
    from xai_framework.cli.upkeep import run_folder
    from xai_framework.figures import figure
    from xai_framework.figures.look import width_of
    from xai_framework.figures.paper import outputs_of
    from xai_framework.store import open_run

    given = {name: getattr(args, name) for name in _LOOK if getattr(args, name) is not None}
    if args.width is not None:
        given["width"] = width_of(args.width)
    path = Path(args.path)
    run = open_run(path if path.is_file() else run_folder(path))
    output = Path(args.output) if args.output else default_output(run.folder, args.layout)
    outputs_of(output)  # a wrong ending is told before the work
    made = figure(
        run,
        args.layout,
        methods=args.methods,
        images=images_of(args.images),
        backbone=args.backbone,
        target=args.target,
        metrics=args.metric,
        **given,
    )
    for file in made.save(output):
        print(file)
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def default_output(folder: Path, layout: str) -> Path:
    """Beside the run's other results; in the working directory for a single file, whose folder is the store's."""
    return (Path() if folder.is_file() else folder) / "figures" / layout


def images_of(words: list[str] | None) -> int | list[str] | None:
    """``4`` is a number of images; anything else is ids, ``id:4`` too."""
    if words is None:
        return None
    if len(words) == 1 and words[0].lstrip("-").isdigit():
        return int(words[0])
    ids = [word.removeprefix("id:") if word.removeprefix("id:").isdigit() else word for word in words]
    if not all(ids):
        raise ConfigError("an id is empty", where="--images", fix="give ids, or how many images")
    return ids
