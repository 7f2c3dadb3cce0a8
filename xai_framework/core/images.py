"""Opening picture files that may be broken or hostile: few formats, bounded sizes, one documented way to RGB."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from xai_framework.core.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MOST_PIXELS = 100_000_000

_log = logging.getLogger("xai_framework")
_SNIFF = {
    b"version https://git-lfs": "a Git LFS pointer, not the picture (run: git lfs pull)",
    b"<!doctype": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "XML text",
    b"<svg": "SVG text",
    b"8bps": "a Photoshop file; that format is not allowed",
    b"%!ps": "an EPS file; that format is not allowed",
    b"%pdf": "a PDF file; that format is not allowed",
    b"simple  =": "a FITS file; that format is not allowed",
}


def open_image(path: str | Path, *, id: str = "") -> Image.Image:
    """An upright RGB picture from a JPEG, PNG, WebP, BMP, TIFF or GIF file.

    EXIF orientation is applied. Of several frames the first is taken. 1, L, P and CMYK are converted by Pillow;
    transparency is laid on white; 16-bit values are divided by 257; float pictures must lie in [0,1] or 0..255.

    Raises ImageError naming ``id`` or the path: missing, unreadable, empty, of another format, torn, or larger than
    MOST_PIXELS.
    """
    path, where = Path(path), id or str(path)
    head = _head(path, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; its size limit is ours, below
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise ImageError(
                        f"has {picture.width}x{picture.height} pixels, more than {MOST_PIXELS}", where=where
                    )
                if getattr(picture, "n_frames", 1) > 1:
                    _log.info("%s holds %d frames; the first is used", where, getattr(picture, "n_frames", 1))
                picture.load()
                if picture.format == "PNG":
                    _check_png_rows(path, where)
                return _rgb(ImageOps.exif_transpose(picture), where)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"has more than {MOST_PIXELS} pixels", where=where) from None
    except Exception as error:  # decoders of broken data raise whatever their formats lead them to
        raise ImageError(_explained(head, error), where=where) from None


def _head(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise ImageError("no such file", where=where) from None
    except PermissionError:
        raise ImageError("may not be read (permission denied)", where=where) from None
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be opened ({error})", where=where) from None
    if not head:
        raise ImageError("is empty (0 bytes)", where=where)
    return head


def _explained(head: bytes, error: Exception) -> str:
    start = head.lstrip().lower()
    for mark, what in _SNIFF.items():
        if start.startswith(mark):
            return f"is {what}"
    if isinstance(error, OSError) and "cannot identify" in str(error):
        text = head.isascii() and all(b >= 32 or b in b"\t\r\n" for b in head)
        return f"is {'text' if text else 'of no allowed format'} (allowed: {', '.join(FORMATS)})"
    return f"is torn or damaged ({' '.join(str(error).split())[:120] or type(error).__name__})"


def _rgb(picture: Image.Image, where: str) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_numbers(np.asarray(picture), where)
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return picture.convert("RGB")


def _from_numbers(values: np.ndarray, where: str) -> Image.Image:
    """16-bit and 32-bit greys, by what they can mean."""
    values = values.astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise ImageError("has grey values outside 0..65535, or that are not finite", where=where)
    top = values.max()
    scale = 255.0 if top <= 1.0 else 1.0 if top <= 255.0 else 1.0 / 257.0
    return Image.fromarray((values * scale).round().astype(np.uint8)).convert("RGB")


def _check_png_rows(path: Path, where: str) -> None:
    """Pillow fills the missing rows of a torn PNG with black and says nothing; count the bytes instead."""
    data = path.read_bytes()
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = [(width, height)] if not interlaced else _adam7(width, height)
    expected = sum(h * (1 + (w * bits + 7) // 8) for w, h in passes if w and h)
    inflate, found, at = zlib.decompressobj(), 0, 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"IDAT":
            found += len(inflate.decompress(data[at + 8 : at + 8 + length], max(1, expected + 1 - found)))
        at += 12 + length
    if found < expected:
        raise ImageError(f"is incomplete: {found} of {expected} bytes of picture data", where=where)


def _adam7(width: int, height: int) -> list[tuple[int, int]]:
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in starts]
