"""``xai explain photo.jpg``: one picture, default methods, a small page."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path
from typing import Any

from xai_framework.core.errors import ConfigError
from xai_framework.core.paths import instead_of


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add ``explain`` to the command line."""
    parser = subparsers.add_parser(
        "explain",
        help="explain one picture (or several) and make a small page",
        description="Explain one picture or several: maps into HDF5, and a small page. Anything `xai run` accepts may "
        "follow, e.g. backbone=torchvision backbone.arch=resnet18 method=[gradcam].",
    )
    parser.add_argument("pictures", nargs="+", help="picture files, then overrides (key=value)")
    parser.add_argument("--class", dest="class_name", help="class index or name to explain (default: the prediction)")
    parser.add_argument("--study", default=None, help="name of the result folder (default: explain-<picture>)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.set_defaults(run=explain_command)


def explain_command(args: argparse.Namespace) -> int:
    """Compose the run that explains these pictures, and run it."""
    from xai_framework.cli.run import run_command

    pictures = [a for a in args.pictures if "=" not in a or Path(a).exists()]
    overrides = [a for a in args.pictures if a not in pictures]
    if not pictures:
        raise ConfigError("no picture is given", where="xai explain", fix="xai explain photo.jpg")
    for picture in pictures:
        if not Path(picture).is_file():
            raise ConfigError("no such file", where=picture, fix=instead_of(Path(picture)))
    study = args.study or f"explain-{safe(Path(pictures[0]).stem)}"
    argv = [f"study={study}", "dataset=files", f"dataset.paths=[{','.join(quoted(p) for p in pictures)}]"]
    if args.class_name is not None:
        name = args.class_name
        argv += ["target=index", f"target.index={name if name.isdigit() else quoted(name)}"]
    if not any(o.startswith("backbone=") for o in overrides):
        print("backbone: shapes_vgg, which knows eight shapes; e.g. backbone=torchvision backbone.arch=resnet50")
    code = run_command([*argv, *overrides])
    if args.open and code in (0, 3):
        page = Path(next((o.split("=", 1)[1] for o in overrides if o.startswith("outputs=")), "outputs"))
        webbrowser.open((page / "runs" / study / "index.html").resolve().as_uri())
    elif sys.stdout.isatty():
        print("add --open to see it in a browser")
    return code


def quoted(text: str) -> str:
    """A Hydra string literal, whatever the text holds."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def safe(text: str) -> str:
    """A study name made of a file name."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text)[:60] or "picture"
