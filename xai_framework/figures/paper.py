"""A sheet of paper measured in millimetres from its upper left corner, and what it becomes on disk.

Text and lines are vectors; pictures are embedded at their own resolution. The only file that imports matplotlib.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_framework.core import sheet
from xai_framework.core.errors import ConfigError, did_you_mean
from xai_framework.store import check_writable, write_atomic

TEXT, SMALL = 7.0, 6.0
"""Points of text; journals want no less than 6."""

INK, FAINT, PALE = "#1c1c1e", "#6e6e76", "#f1f1f4"
MOST_PIXELS = 1 << 15
POINT = 25.4 / 72
"""Millimetres."""

LINE = 1.25
"""From one line of text to the next, in heights of the text."""

_SETTINGS: dict[str, Any] = {
    "pdf.fonttype": 42,  # TrueType: text that editors and publishers can read; type 3 is refused by many
    "ps.fonttype": 42,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so a figure is the same everywhere
    "font.size": TEXT,
    "text.usetex": False,
    "text.parse_math": False,  # a label may hold a dollar
    "axes.linewidth": 0.5,
    "hatch.linewidth": 0.4,
    "hatch.color": "#a0a0a8",
    "figure.constrained_layout.use": False,
    "savefig.bbox": None,
}
_FORMATS = ("pdf", "png")


def check_matplotlib() -> None:
    """Raises ConfigError naming the extra where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "the package matplotlib is not installed", where="figure", fix='pip install "xai-framework[figures]"'
        ) from None


@contextmanager
def settings() -> Iterator[None]:
    """The house's settings, and nobody else's: a user's matplotlibrc must not change a figure."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams  # its type lists every key
        settings.update(_SETTINGS)
        yield


class Paper:
    """A figure of ``width`` x ``height`` mm. Everything is placed by its upper left corner.

    Raises ConfigError where ``dpi`` dots per inch make it too large to be drawn.
    """

    def __init__(self, width: float, height: float, dpi: int) -> None:
        from matplotlib.figure import Figure

        if max(width, height) * dpi / 25.4 > MOST_PIXELS:
            what = f"{width:.0f} x {height:.0f} mm at {dpi} dots per inch are more than {MOST_PIXELS} pixels a side"
            raise ConfigError(what, where="figure", fix="take fewer images, methods or metrics, or fewer dots")
        self.width, self.height, self.dpi = width, height, dpi
        self.figure: Any = Figure(figsize=(width / 25.4, height / 25.4), facecolor="white")

    def axes(self, x: float, y: float, width: float, height: float) -> Any:  # noqa: ANN401 - matplotlib's
        """Axes in that place."""
        bottom = 1 - (y + height) / self.height
        return self.figure.add_axes((x / self.width, bottom, width / self.width, height / self.height))

    def text(self, x: float, y: float, text: str, **how: Any) -> None:  # noqa: ANN401 - matplotlib's
        """Lines of text; ``ha`` and ``va`` say which point of them stands at (x, y), by default the upper left one.

        Baselines lie where the size of the font says, not the letters: neighbours stand on one line. ``upright`` turns
        the lines to run from bottom to top, centred on y (``ha="left"``: from y on), the first one leftmost.
        """
        given, how = how, {"fontsize": TEXT, "color": INK, "ha": "left", "va": "top", **how}
        lines, side, upright = printable(text).split("\n"), how.pop("va"), how.pop("upright", False)
        turned = how["ha"] if "ha" in given else "center"
        if upright:
            how |= {"rotation": 90, "rotation_mode": "anchor", "ha": turned}
        start = {"top": 0.0, "center": 0.5, "bottom": 1.0}[side] * LINE * len(lines)
        for i, line in enumerate(lines):
            offset = (0.95 + LINE * i - start) * how["fontsize"] * POINT
            at = (x + offset, y) if upright else (x, y + offset)
            self.figure.text(at[0] / self.width, 1 - at[1] / self.height, line, va="baseline", **how)

    def picture(self, x: float, y: float, width: float, height: float, pixels: NDArray[np.uint8]) -> Any:  # noqa: ANN401
        """RGB pixels (h,w,3), stretched to the place; returns the axes, in which a pixel is a unit."""
        axes = self.axes(x, y, width, height)
        axes.imshow(pixels, aspect="auto", extent=(0, pixels.shape[1], pixels.shape[0], 0), interpolation="none")
        axes.set_axis_off()
        return axes

    def hatched(self, x: float, y: float, width: float, height: float, word: str) -> None:
        """A place without a picture, and why."""
        from matplotlib.patches import Rectangle

        axes = self.axes(x, y, width, height)
        axes.set_axis_off()
        axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=PALE, edgecolor="#a0a0a8", hatch="//////", linewidth=0))
        self.word(x, y, width, height, word)

    def word(self, x: float, y: float, width: float, height: float, word: str) -> None:
        """A word in the middle of a place, on a pale ground so that it can be read on anything."""
        lines = wrapped(word, width - 1.0, SMALL, lines=2)
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        at = ((x + width / 2) / self.width, 1 - (y + height / 2) / self.height)
        how = {"fontsize": SMALL, "color": INK, "ha": "center", "va": "center", "linespacing": LINE}
        self.figure.text(*at, "\n".join(lines), bbox=ground, **how)


class PaperFigure:
    """A finished figure. Shows itself in a notebook; ``save`` writes it; ``figure`` is matplotlib's own.

    ``notes`` say what a reader of the figure must know and cannot see in it.
    """

    def __init__(self, paper: Paper, title: str, notes: Sequence[str] = ()) -> None:
        self.figure, self.dpi, self.title, self.notes = paper.figure, paper.dpi, title, list(notes)
        self.width, self.height = paper.width, paper.height

    def save(self, file: str | Path) -> list[Path]:
        """Write .pdf or .png by the name's ending, both where it has none; returns what was written.

        The same figure gives the same bytes. Raises ConfigError for another ending, StoreError where nothing can be
        written.
        """
        return [self._write(path, kind) for path, kind in outputs_of(Path(file))]

    def _write(self, path: Path, kind: str) -> Path:
        check_writable(path.parent)  # before the drawing, and it makes the folder
        write_atomic(path, self.rendered(kind))
        return path

    def rendered(self, kind: str) -> bytes:
        """The content of a file of that ending."""
        buffer = io.BytesIO()
        for picture in self._pictures():
            # pages embed the pixels as they are; a raster has to resample them
            picture.set_interpolation("none" if kind == "pdf" else "auto")
            picture.set_interpolation_stage("rgba")
        metadata = {"pdf": {"Title": printable(self.title), "CreationDate": None}, "png": {"Software": None}}[kind]
        with settings(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            self.figure.savefig(buffer, format=kind, dpi=self.dpi, metadata=metadata)
        found = (re.match(r"Glyph (\d+) .*missing from", str(w.message)) for w in caught)
        missing = sorted({chr(int(m[1])) for m in found if m})
        said = f"the font has no shape for {len(missing)} characters, drawn as boxes: {' '.join(missing[:12])}"
        if missing and said not in self.notes:
            self.notes.append(said)
        return buffer.getvalue()

    def _pictures(self) -> list[Any]:
        from matplotlib.image import AxesImage

        return list(self.figure.findobj(AxesImage))

    def _repr_png_(self) -> bytes:
        return self.rendered("png")


def outputs_of(file: Path) -> list[tuple[Path, str]]:
    """(path, format) of each file that is to be written. Raises ConfigError for an ending that is neither."""
    kind = file.suffix[1:].lower()
    if kind in _FORMATS:
        return [(file, kind)]
    if kind and kind.isalpha() and len(kind) <= 4:
        raise ConfigError(
            f"no figure is written as {file.suffix!r}",
            where="output",
            fix=did_you_mean(kind, _FORMATS) + "; both without an ending",
        )
    return [(file.with_name(f"{file.name}.{kind}"), kind) for kind in _FORMATS]


def text_width(text: str, points: float) -> float:
    """Millimetres of one line."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    shown = printable(text)
    if not shown:
        return 0.0
    font = FontProperties(family=_SETTINGS["font.family"], size=points)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a character without a shape is told when the figure is written
        width, _, _ = TextToPath().get_text_width_height_descent(shown, font, ismath=False)
    return float(width) * POINT


def line_height(points: float) -> float:
    """Millimetres from one line to the next."""
    return LINE * points * POINT


def wrapped(text: str, width: float, points: float, lines: int = 2) -> list[str]:
    """Text on at most so many lines of ``width`` mm, broken behind spaces, ``_ - , = [ /``; cut with an ellipsis."""
    parts = _pieces(printable(text))
    found = [""]
    for part in parts:
        if not found[-1] or text_width((found[-1] + part).rstrip(), points) <= width:
            found[-1] += part
        else:
            found.append(part)
    kept = [line.strip() for line in found[:lines]]
    if len(found) > lines:
        kept[-1] = "".join(found[lines - 1 :]).strip()
    return [_cut(line, width, points) for line in kept]


def _pieces(text: str) -> list[str]:
    pieces = [""]
    for c in text:
        pieces[-1] += c
        if c in " _-,=/[":
            pieces.append("")
    return [p for p in pieces if p]


def _cut(line: str, width: float, points: float) -> str:
    if text_width(line, points) <= width:
        return line
    while line and text_width(line + "…", points) > width:
        line = line[:-1]
    return line.rstrip() + "…"


def printable(text: str) -> str:
    """Text without control characters and halves of characters, which have no shapes and break files."""
    return "\n".join(sheet.printable(line) for line in text.split("\n"))


def number(value: float, digits: int = 3) -> str:
    """So many digits, with a minus sign that is one: ``−0.0123``, ``1.2e−05``."""
    return f"{value:.{digits}g}".replace("-", "−")
