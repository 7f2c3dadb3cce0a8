"""Draws one picture of shapes on a textured background, with the exact mask of every shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring", "crescent", "hexagon")

_OVERSAMPLING = 3  # masks are drawn larger and averaged, which smooths their edges


@dataclass(frozen=True)
class Drawn:
    """A picture (size,size,3) uint8, the class numbers in it and a visible mask (size,size) for each."""

    pixels: NDArray[np.uint8]
    labels: tuple[int, ...]
    masks: tuple[NDArray[np.bool_], ...]


def draw(rng: np.random.Generator, size: int, objects: int) -> Drawn:
    """Texture, then strokes that belong to no class, then ``objects`` shapes of different classes, apart."""
    canvas = _texture(rng, size)
    canvas = _strokes(rng, canvas)
    labels = tuple(int(c) for c in rng.choice(len(CLASSES), objects, replace=False))
    masks = []
    for (x, y, radius), label in zip(_places(rng, size, objects), labels, strict=True):
        cover = _shape(size, label, x, y, radius, rng.uniform(0, 2 * math.pi))
        inside = cover > 0.5
        colour = _contrasting(rng, canvas[inside].mean(0))
        paint = colour + rng.normal(0, 0.04, (size, size, 3))
        canvas = canvas * (1 - cover[..., None]) + paint * cover[..., None]
        masks.append(inside)
    return Drawn((np.clip(canvas, 0, 1) * 255).round().astype(np.uint8), labels, tuple(masks))


def _places(rng: np.random.Generator, size: int, objects: int) -> list[tuple[float, float, float]]:
    """Centres and radii of discs that do not touch."""
    shrink = {1: 1.0, 2: 0.85, 4: 0.7}[objects]
    while True:
        found: list[tuple[float, float, float]] = []
        for _ in range(200):
            radius = float(rng.uniform(0.14, 0.25) * size * shrink)
            x, y = (float(v) for v in rng.uniform(radius, size - radius, 2))
            if all(math.hypot(x - a, y - b) > radius + r for a, b, r in found):
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
    picture = Image.fromarray((np.clip(canvas, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 10))):
        x, y = rng.uniform(0, size, 2)
        length, angle = rng.uniform(0.05, 0.15) * size, rng.uniform(0, 2 * math.pi)
        colour = tuple(int(v) for v in rng.integers(0, 255, 3))
        end = (x + length * math.cos(angle), y + length * math.sin(angle))
        if rng.uniform() < 0.7:
            pen.line(((x, y), end), fill=colour, width=int(rng.integers(1, 3)))
        else:
            pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=colour)
    return np.asarray(picture, dtype=np.float64) / 255


def _contrasting(rng: np.random.Generator, background: NDArray[np.float64]) -> NDArray[np.float64]:
    while True:
        colour = rng.uniform(0, 1, 3)
        if np.abs(colour - background).max() > 0.35:
            return colour


def _shape(size: int, label: int, x: float, y: float, radius: float, angle: float) -> NDArray[np.float64]:
    """Coverage of each pixel by a shape, (size,size) in [0,1]."""
    scale = _OVERSAMPLING
    picture = Image.new("L", (size * scale, size * scale), 0)
    pen = ImageDraw.Draw(picture)
    x, y, radius = x * scale, y * scale, radius * scale
    name = CLASSES[label]
    if name in ("circle", "ring", "crescent"):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if name == "ring":
            hole = 0.55 * radius
            pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
        elif name == "crescent":
            bite, a, b = 0.85 * radius, x + 0.55 * radius * math.cos(angle), y + 0.55 * radius * math.sin(angle)
            pen.ellipse((a - bite, b - bite, a + bite, b + bite), fill=0)
    elif name == "cross":
        for turn in (angle, angle + math.pi / 2):
            pen.polygon(_bar(x, y, radius, 0.36 * radius, turn), fill=255)
    else:
        corners = {"square": 4, "triangle": 3, "star": 5, "hexagon": 6}[name]
        pen.polygon(_polygon(x, y, radius, corners, angle, 0.42 if name == "star" else None), fill=255)
    small = picture.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255


def _bar(x: float, y: float, length: float, width: float, angle: float) -> list[tuple[float, float]]:
    c, s = math.cos(angle), math.sin(angle)
    corners = ((-length, -width), (length, -width), (length, width), (-length, width))
    return [(x + c * a - s * b, y + s * a + c * b) for a, b in corners]


def _polygon(
    x: float, y: float, radius: float, corners: int, angle: float, inner: float | None
) -> list[tuple[float, float]]:
    count = corners * 2 if inner else corners
    radii = [radius * inner if inner and i % 2 else radius for i in range(count)]
    turns = [angle + 2 * math.pi * i / count for i in range(count)]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, turns, strict=True)]
