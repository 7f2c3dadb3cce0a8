"""Several pictures on one sheet, with titles above the columns and beside the rows."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

PAPER, INK = "#ffffff", "#1c1c1e"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def sheet(
    rows: Sequence[Sequence[Image.Image | None]],
    columns: Sequence[str] = (),
    titles: Sequence[str] = (),
    gap: int = 8,
) -> Image.Image:
    """An RGB sheet of rows x columns pictures of any size; None leaves a place free.

    ``columns`` stand above, ``titles`` (one a row) to the left; a line break starts a new line, a line that is too
    long is cut. Raises ValueError where there is no picture.
    """
    pictures = [p for row in rows for p in row if p is not None]
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    count = max(len(row) for row in rows)
    widths = [max((r[x].width for r in rows if x < len(r) and r[x]), default=0) for x in range(count)]  # type: ignore[union-attr]
    heights = [max((p.height for p in row if p is not None), default=0) for row in rows]
    font = font_of(max(11, min(20, max(widths) // 12)))
    line = line_height(font)
    beside = min(max(max((text_width(t, font) for t in titles), default=0), 0), 2 * max(widths))
    above = max((len(c.splitlines()) for c in columns), default=0) * line
    left, top = gap + (beside + gap if titles else 0), gap + (above + gap // 2 if columns else 0)
    paper = Image.new("RGB", (left + sum(widths) + gap * count, top + sum(heights) + gap * len(rows)), PAPER)
    draw = ImageDraw.Draw(paper)
    x = left
    for column, width in enumerate(widths):
        if column < len(columns):
            _write(draw, columns[column], (x + width // 2, gap), width, font, "m")
        y = top
        for row, height in zip(rows, heights, strict=True):
            if column < len(row) and (picture := row[column]) is not None:
                paper.paste(picture, (x + (width - picture.width) // 2, y))
            y += height + gap
        x += width + gap
    y = top
    for title, height in zip(titles, heights, strict=False):
        text_height = line * len(title.splitlines())
        _write(draw, title, (gap + beside, y + max(0, height - text_height) // 2), beside, font, "r")
        y += height + gap
    return paper


def font_of(size: int) -> Font:
    """The font that comes with Pillow, ``size`` pixels high."""
    return ImageFont.load_default(size)


def line_height(font: Font) -> int:
    """Pixels from one line of text to the next."""
    return round(1.25 * (font.getbbox("Ag")[3] - font.getbbox("Ag")[1])) + 3


def text_width(text: str, font: Font) -> int:
    """Pixels of the longest line."""
    return max((round(font.getlength(printable(part))) for part in text.splitlines()), default=0)


def fitted(text: str, width: int, font: Font) -> str:
    """One line cut to ``width`` pixels, with an ellipsis where something is missing."""
    text = printable(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def printable(text: str) -> str:
    """Text without control characters, which fonts have no shapes for."""
    return "".join(c if c.isprintable() else " " for c in text)


def _write(draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int], width: int, font: Font, anchor: str) -> None:
    """Lines of text from ``at`` down, centred on it (m) or ending at it (r)."""
    for i, part in enumerate(text.splitlines()):
        shown = fitted(part, width, font)
        draw.text((at[0], at[1] + i * line_height(font)), shown, fill=INK, font=font, anchor=f"{anchor}a")
