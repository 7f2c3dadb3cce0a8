"""``xai report``: the page of stored runs, of any size."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xai_framework.core.errors import ConfigError


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``report`` to the command line."""
    parser = subparsers.add_parser("report", help="the page of one run, or of several side by side; all images")
    parser.add_argument("paths", nargs="*", metavar="RUN", help="folders of runs (the latest run)")
    parser.add_argument("--to", metavar="FOLDER", help="where index.html goes (the run's folder; several runs: report)")
    parser.add_argument("--images", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--form",
        choices=("auto", "single", "folder"),
        default="auto",
        help="one file that can be sent, or a page with files beside it (auto: a folder from 201 images)",
    )
    parser.add_argument("--side", type=int, help="pixels along the longer side of pictures (320; in a folder 128)")
    parser.add_argument("--scale", help="map, saturated or method (as the study says)")
    parser.add_argument("--colormap", help="for maps without a sign (as the study says)")
    parser.add_argument("--signed-colormap", help="for maps with a sign (as the study says)")
    parser.add_argument("--open", action="store_true", help="show it in a browser")
    parser.set_defaults(run=report_command)


def report_command(args: argparse.Namespace) -> int:
    """Write the page and say where."""
    from dataclasses import replace

    from xai_framework.cli.upkeep import run_folder
    from xai_framework.registry import Registry
    from xai_framework.report import view_of
    from xai_framework.report.page import write_page
    from xai_framework.store import open_run

    for name, least in (("images", 1), ("side", 16)):
        given = getattr(args, name)
        if given is not None and not least <= given <= 10_000_000:
            raise ConfigError(f"{given} is below {least}", where=f"--{name}")
    folders = [run_folder(Path(p)) for p in args.paths or ["outputs"]]
    runs = [open_run(f) for f in folders]
    registry = Registry([])
    style = _style(runs[0].record, registry)
    chosen = {n: getattr(args, n) for n in ("scale", "colormap", "signed_colormap", "side") if getattr(args, n)}
    style = replace(style, **chosen)
    to = Path(args.to) if args.to else folders[0] if len(folders) == 1 else Path("report")
    path = write_page(to, view_of(runs, registry), style, most_images=args.images, form=args.form)
    print(f"page: {path}")
    if args.open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0


def _style(record: Mapping[str, Any], registry: Any) -> Any:  # noqa: ANN401 - modules of pages are imported late
    """The look that the study asked for, as far as it still can be had."""
    import yaml

    from xai_framework.core.errors import XaiError
    from xai_framework.core.renderer import Renderer
    from xai_framework.report.look import PageStyle

    try:
        config = yaml.safe_load(str(record.get("config_yaml", ""))) or {}
        made = registry.build("renderer", config["renderer"], "renderer")
        return PageStyle.like(made, config.get("scale", "map")) if isinstance(made, Renderer) else PageStyle()
    except (XaiError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return PageStyle()
