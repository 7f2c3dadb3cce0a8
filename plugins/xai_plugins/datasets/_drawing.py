"""Draws one picture of shapes on a textured background, with the exact mask of every shape."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

VERSION = 2
"""Raised whenever the same name gives another picture."""

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring", "crescent", "hexagon")

_OVERSAMPLING = 3  # shapes are drawn larger and averaged, which smooths their edges
_GAP = 2.0  # pixels between shapes, so that smoothed edges do not meet
_SHRINK = {1: 1.0, 2: 0.85, 4: 0.7}  # radii by number of shapes, so that all find room
_CORNERS = {"square": 4, "triangle": 3, "star": 5, "hexagon": 6}


@dataclass(frozen=True)
class Drawn:
    """A picture (size,size,3) uint8, the class numbers in it and a visible mask (size,size) for each.

    A pixel belongs to a mask where the shape covers more than half of it. Edges are smooth: a shape also tints the
    pixels just outside its mask, none farther than one pixel from it.
    """

    pixels: NDArray[np.uint8]
    labels: tuple[int, ...]
    masks: tuple[NDArray[np.bool_], ...]


def labels_of(name: str, objects: int) -> tuple[int, ...]:
    """The class numbers in the picture of this name, all different, without drawing it."""
    return tuple(int(c) for c in stream(name, "labels").choice(len(CLASSES), objects, replace=False))


def draw(name: str, size: int, objects: int) -> Drawn:
    """Texture, then strokes that belong to no class, then ``objects`` shapes of different classes, apart.

    The same three arguments always give the same picture; nothing else has a say.
    """
    rng = stream(name, "picture")
    canvas = _strokes(rng, _texture(rng, size))
    labels = labels_of(name, objects)
    masks = []
    for (x, y, radius), label in zip(_places(rng, size, objects), labels, strict=True):
        cover = _shape(size, CLASSES[label], x, y, radius, rng.uniform(0, 2 * math.pi))
        masks.append(cover > 0.5)
        colour = _contrasting(rng, canvas[masks[-1]].mean(0))
        touched = cover > 0
        share = cover[touched][:, None]
        paint = colour + rng.normal(0, 0.04, (len(share), 3))
        canvas[touched] = canvas[touched] * (1 - share) + paint * share
    return Drawn((np.clip(canvas, 0, 1) * 255).round().astype(np.uint8), labels, tuple(masks))


def stream(name: str, purpose: str) -> np.random.Generator:
    """Random numbers that belong to one purpose in the picture of this name."""
    digest = hashlib.sha256(f"shapes/{VERSION}/{name}/{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _places(rng: np.random.Generator, size: int, objects: int) -> list[tuple[float, float, float]]:
    """Centres and radii (x, y, radius), in pixels, of discs that lie in the picture and do not touch."""
    while True:
        found: list[tuple[float, float, float]] = []
        for _ in range(200):
            radius = float(rng.uniform(0.14, 0.25) * size * _SHRINK[objects])
            x, y = (float(v) for v in rng.uniform(radius, size - radius, 2))
            if all(math.hypot(x - a, y - b) > radius + r + _GAP for a, b, r in found):
                found.append((x, y, radius))
            if len(found) == objects:
                return found


def _texture(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Smooth coloured noise at four scales around a random colour."""
    canvas = np.zeros((size, size, 3)) + rng.uniform(0.15, 0.85, 3)
    for cells in (4, 8, 16, 32):
        coarse = rng.normal(0, 0.5 / math.sqrt(cells), (cells, cells, 3)).astype(np.float32)
        fine = [
            np.asarray(Image.fromarray(coarse[..., c]).resize((size, size), Image.Resampling.BICUBIC)) for c in range(3)
        ]
        canvas += np.stack(fine, -1) * rng.uniform(0.3, 1.0)
    return canvas


def _strokes(rng: np.random.Generator, canvas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Short lines and dots: something to be distracted by. They lie beneath the shapes, so masks stay exact."""
    size = len(canvas)
    unit = size / 96
    picture = Image.fromarray((np.clip(canvas, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 10))):
        x, y = rng.uniform(0, size, 2)
        length, angle = rng.uniform(0.05, 0.15) * size, rng.uniform(0, 2 * math.pi)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        end = (x + length * math.cos(angle), y + length * math.sin(angle))
        if rng.uniform() < 0.7:
            pen.line(((x, y), end), fill=colour, width=round(int(rng.integers(1, 3)) * unit))
        else:
            dot = 1.5 * unit
            pen.ellipse((x - dot, y - dot, x + dot, y + dot), fill=colour)
    return np.asarray(picture, dtype=np.float64) / 255


def _contrasting(rng: np.random.Generator, background: NDArray[np.float64]) -> NDArray[np.float64]:
    """A colour (3,) that differs from the background's by more than 0.35 in some channel."""
    while True:
        colour = rng.uniform(0, 1, 3)
        if np.abs(colour - background).max() > 0.35:
            return colour


def _shape(size: int, name: str, x: float, y: float, radius: float, angle: float) -> NDArray[np.float64]:
    """Coverage of each pixel by a shape, (size,size) in [0,1]; nothing of it lies outside the disc of this radius."""
    scale = _OVERSAMPLING
    picture = Image.new("L", (size * scale, size * scale), 0)
    pen = ImageDraw.Draw(picture)
    x, y, radius = x * scale, y * scale, radius * scale
    if name in _CORNERS:
        pen.polygon(_polygon(x, y, radius, _CORNERS[name], angle, 0.42 if name == "star" else None), fill=255)
    elif name == "cross":
        half = radius / math.hypot(1, 0.36)
        for turn in (angle, angle + math.pi / 2):
            pen.polygon(_bar(x, y, half, 0.36 * half, turn), fill=255)
    else:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if name == "ring":
            hole = 0.55 * radius
            pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
        elif name == "crescent":
            bite, a, b = 0.85 * radius, x + 0.55 * radius * math.cos(angle), y + 0.55 * radius * math.sin(angle)
            pen.ellipse((a - bite, b - bite, a + bite, b + bite), fill=0)
    small = picture.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255


def _bar(x: float, y: float, half_length: float, half_width: float, angle: float) -> list[tuple[float, float]]:
    c, s = math.cos(angle), math.sin(angle)
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [
        (x + c * u * half_length - s * v * half_width, y + s * u * half_length + c * v * half_width) for u, v in corners
    ]


def _polygon(
    x: float, y: float, radius: float, corners: int, angle: float, inner: float | None
) -> list[tuple[float, float]]:
    """A regular polygon; with ``inner`` a star whose inward corners lie at that share of the radius."""
    count = corners * 2 if inner else corners
    radii = [radius * inner if inner and i % 2 else radius for i in range(count)]
    turns = [angle + 2 * math.pi * i / count for i in range(count)]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, turns, strict=True)]
