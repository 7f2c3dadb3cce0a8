"""What every renderer promises."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_framework.core.renderer import Renderer, Scale
from xai_framework.core.status import Status
from xai_framework.testing.documented import check_documented, hold, hold_all


def check_renderer(renderer: Renderer | type[Renderer]) -> None:
    """Check everything a renderer promises; a class is checked by its ``example()``.

    Raises AssertionError naming renderer, check and finding.
    """
    one = renderer.example() if isinstance(renderer, type) else renderer
    check_documented(one)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hold_all(CHECKS, one, type(one).__name__)


def draws_any_map(renderer: Renderer) -> None:
    """An RGB picture at least as large as the photograph, for coarse and fine, signed and unsigned maps."""
    for shape in ((1, 7, 7), (3, 48, 64), (1, 1, 1), (2, 5, 3)):
        for attribution in (_values(shape), abs(_values(shape))):
            _draw(renderer, attribution)


def draws_any_magnitude(renderer: Renderer) -> None:
    """A map and a thousandth of it, each on its own scale, look the same; no size is too large or too small."""
    values = abs(_values((1, 7, 7)))
    expected = _draw(renderer, values)
    for factor in (1e-3, 1e-30, 1e30):
        _draw(renderer, values * np.float32(factor))
    hold(expected.size == _draw(renderer, values * np.float32(1e-3)).size, "the size depends on the map's values")


def shows_the_sign(renderer: Renderer) -> None:
    """Evidence for and against a class look different."""
    values = _values((1, 7, 7))
    hold(_pixels(_draw(renderer, values)) != _pixels(_draw(renderer, -values)), "a map and its negative look the same")


def shows_no_heat_without_evidence(renderer: Renderer) -> None:
    """What a map without evidence holds is not drawn: zeros, NaN and leftovers look alike, and unlike a map."""
    values = _values((1, 7, 7))
    drawn = _pixels(_draw(renderer, values))
    empty = np.full_like(values, np.nan)
    for status in (Status.zero, Status.nonfinite, Status.failed, Status.not_applicable):
        blank = np.zeros_like(values) if status == Status.zero else empty
        without = _pixels(_draw(renderer, blank, status))
        hold(without != drawn, f"a map of status {status.name} looks like one with evidence")
        if status != Status.zero:
            hold(without == _pixels(_draw(renderer, values, status)), f"draws the values of a map that {status.name}")


def is_the_same_each_time(renderer: Renderer) -> None:
    """The same picture for the same map; photograph and map stay as they are."""
    photograph, values = _photograph(), _values((1, 7, 7))
    given, scale = values.copy(), Scale.of(values)
    first = renderer.render(photograph, given, scale)
    hold(photograph.tobytes() == _photograph().tobytes(), "writes into the photograph")
    hold(np.array_equal(values, given), "writes into the map")
    second = renderer.render(photograph, values, scale)
    hold(_pixels(first) == _pixels(second), "draws another picture the second time")


def _draw(renderer: Renderer, attribution: NDArray[Any], status: Status = Status.ok) -> Image.Image:
    photograph = _photograph()
    picture = renderer.render(photograph, attribution, Scale.of(attribution), status)
    hold(isinstance(picture, Image.Image), f"returns {type(picture).__name__}, not a picture")
    hold(picture.mode == "RGB", f"returns a picture of mode {picture.mode}, expected RGB")
    hold(
        picture.width >= photograph.width and picture.height >= photograph.height,
        f"returns {picture.size} for a photograph of {photograph.size}",
    )
    return picture


def _pixels(picture: Image.Image) -> tuple[tuple[int, int], bytes]:
    return picture.size, picture.tobytes()


def _photograph() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def _values(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


CHECKS: dict[str, Callable[[Renderer], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        draws_any_map,
        is_the_same_each_time,
        draws_any_magnitude,
        shows_the_sign,
        shows_no_heat_without_evidence,
    )
}
