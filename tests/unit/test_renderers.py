"""Renderers against colours computed from the colour maps themselves, and pictures of maps without evidence."""

from __future__ import annotations

import subprocess
import sys
import warnings

import cmap
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from xai_plugins.renderers.heatmap import Heatmap
from xai_plugins.renderers.overlay import Overlay
from xai_plugins.renderers.panel import Panel

from xai_framework.core import ConfigError, Scale, Status, flat
from xai_framework.core.colours import colour_table, colours, positions
from xai_framework.core.sheet import fitted, font_of, sheet

RENDERERS = [Heatmap(), Overlay(), Panel()]


def photograph(size: tuple[int, int] = (64, 48)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def rgb(name: str, at: float) -> np.ndarray:
    return np.rint(np.array(cmap.Colormap(name)(at).rgba[:3]) * 255)


def pixels(picture: Image.Image) -> np.ndarray:
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


# --- scales


def test_scale_of_magnitudes_starts_at_zero() -> None:
    assert Scale.of(np.array([[[0.5, 2.0]]])) == Scale(0.0, 2.0)


@pytest.mark.parametrize("values", [[[-3.0, 2.0]], [[-1.0, 3.0]], [[-3.0, -1.0]], [[-3.0, 0.0]]])
def test_scale_of_signed_maps_is_symmetric(values: list[list[float]]) -> None:
    assert Scale.of(np.array([values])) == Scale(-3.0, 3.0)


def test_one_scale_for_several_maps_takes_the_largest() -> None:
    assert Scale.of(np.ones((1, 2, 2)), np.full((1, 3, 3), -4.0)) == Scale(-4.0, 4.0)


def test_scale_sums_channels_and_leaves_out_what_is_not_finite() -> None:
    assert Scale.of(np.array([[[1.0, np.nan]], [[2.0, 7.0]]])) == Scale(0.0, 3.0)
    assert Scale.of(np.array([[[np.inf]], [[-np.inf]]])) == Scale(0.0, 0.0)


def test_scale_without_evidence_is_empty() -> None:
    assert Scale.of(np.zeros((3, 2, 2))).empty
    assert Scale.of().empty


def test_percentile_saturates_and_never_empties_a_sparse_map() -> None:
    assert Scale.of(np.arange(101.0)[None, None], percentile=99).high == pytest.approx(99.0)
    sparse = np.zeros((1, 10, 10))
    sparse[0, 3, 3] = 5.0
    assert Scale.of(sparse, percentile=90) == Scale(0.0, 5.0)


def test_flat_sums_in_double_precision() -> None:
    assert flat(np.full((3, 1, 1), 60000, np.float16))[0, 0] == pytest.approx(3 * 59968, abs=100)


# --- colours


@pytest.mark.parametrize("name", ["inferno", "viridis", "hot", "gray", "jet", "gist_earth"])
def test_ends_of_the_scale_have_the_ends_of_the_colour_map(name: str) -> None:
    drawn = pixels(Heatmap(name, interpolation="nearest").render(photograph(), np.array([[[0.0, 5.0]]]), Scale(0, 5)))
    assert np.array_equal(drawn[0, 0], rgb(name, 0.0))
    assert np.array_equal(drawn[0, -1], rgb(name, 1.0))


@pytest.mark.parametrize("name", ["RdBu_r", "vik", "RdBu"])
def test_signed_maps_are_drawn_with_zero_in_the_middle(name: str) -> None:
    values = np.array([[[-1.0, 0.0, 4.0]]])
    renderer = Heatmap(signed_colormap=name, interpolation="nearest")
    drawn = pixels(renderer.render(photograph((63, 9)), values, Scale.of(values)))
    plain, turned = name.removesuffix("_r"), name.endswith("_r")
    for column, at in ((0, 0.5 - 0.125), (31, 0.5), (62, 1.0)):
        expected = rgb(plain, 1 - at if turned else at)
        assert np.abs(drawn[0, column] - expected).max() <= 4, column  # one of 256 steps


def test_ambiguous_names_are_taken_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert colour_table("coolwarm").shape == (256, 3)
    assert not caplog.records


@pytest.mark.parametrize(("field", "value"), [("colormap", "infreno"), ("signed_colormap", "RdBuu_r")])
@pytest.mark.parametrize("kind", [Heatmap, Overlay, Panel])
def test_an_unknown_colour_map_names_the_key_and_the_nearest(kind: type, field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{kind.__name__}.{field}.*did you mean '(inferno|RdBu)'"):
        kind(**{field: value})


def test_coarse_maps_are_enlarged_as_torch_does() -> None:
    from torch import from_numpy
    from torch.nn.functional import interpolate

    values = np.random.default_rng(1).random((1, 7, 7))
    drawn = pixels(Heatmap("gray").render(photograph((96, 80)), values, Scale(0, 1)))[..., 0]
    expected = interpolate(from_numpy(values)[None], (80, 96), mode="bilinear", align_corners=False)[0, 0].numpy()
    assert np.abs(drawn - 255 * expected).max() <= 1.0


@settings(deadline=None)
@given(st.floats(5e-324, 1e300), st.lists(st.floats(-1, 1), min_size=2, max_size=9))
def test_positions_are_always_on_the_colour_map(top: float, parts: list[float]) -> None:
    values = np.array([parts]) * top
    scale = Scale.of(values)
    where = positions(values, scale)
    assert np.isfinite(where).all()
    assert where.min() >= 0
    assert where.max() <= 1
    if scale.signed:
        assert (where[values == 0] == 0.5).all()


def test_values_beyond_the_scale_saturate() -> None:
    table = colour_table("inferno")
    assert np.array_equal(colours(np.array([[-9.0, 9.0]]), Scale(0, 1)), table[[[0, 255]]])


def test_tiny_maps_look_like_large_ones() -> None:
    values = np.random.default_rng(2).random((1, 7, 7))
    pictures = [
        pixels(Overlay().render(photograph(), values * f, Scale.of(values * f))) for f in (1.0, 1e-9, 1e-300, 1e200)
    ]
    assert all(np.abs(p - pictures[0]).max() <= 2 for p in pictures)


# --- overlay


def test_opacity_runs_from_the_photograph_to_the_map() -> None:
    image, values = photograph(), np.random.default_rng(3).normal(size=(3, 48, 64))
    scale = Scale.of(values)
    heat = pixels(Heatmap().render(image, values, scale))
    assert np.array_equal(pixels(Overlay(opacity=0, grey=False).render(image, values, scale)), pixels(image))
    assert np.array_equal(pixels(Overlay(opacity=1).render(image, values, scale)), heat)
    half = pixels(Overlay(opacity=0.5, grey=False).render(image, values, scale))
    assert np.abs(half - (pixels(image) + heat) / 2).max() <= 1


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_opacity_out_of_range_is_refused(opacity: float) -> None:
    with pytest.raises(ConfigError, match=r"Overlay\.opacity"):
        Overlay(opacity=opacity)


# --- maps without evidence


@pytest.mark.parametrize("renderer", RENDERERS[:2])
@pytest.mark.parametrize("status", [s for s in Status if s != Status.ok])
def test_a_map_without_evidence_is_grey_and_says_why(renderer: Heatmap, status: Status) -> None:
    strong = np.ones((1, 7, 7))
    drawn = pixels(renderer.render(photograph((224, 224)), strong, Scale(0, 1), status))
    assert drawn.shape == (224, 224, 3)
    assert np.ptp(drawn, axis=2).max() <= 8  # no colour a heat map could have
    others = [renderer.render(photograph((224, 224)), strong, Scale(0, 1), s) for s in Status if s != status]
    assert all(not np.array_equal(drawn, pixels(o)) for o in others)  # each has its own word


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize(
    ("values", "scale", "like"),
    [
        (np.zeros((1, 7, 7)), Scale(0, 0), Status.zero),
        (np.zeros((1, 7, 7)), Scale(0, 3), Status.zero),
        (np.ones((1, 7, 7)), Scale(0, 0), Status.zero),
        (np.array([[[1.0]], [[-1.0]]]), Scale(-1, 1), Status.zero),
        (np.array([[[1.0, np.nan]]]), Scale(0, 1), Status.nonfinite),
        (np.array([[[np.inf]], [[-np.inf]]]), Scale(0, 0), Status.nonfinite),
    ],
)
def test_a_map_called_ok_is_still_looked_at(renderer: Heatmap, values: np.ndarray, scale: Scale, like: Status) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = renderer.render(photograph(), values, scale)
    assert np.array_equal(pixels(drawn), pixels(renderer.render(photograph(), values, scale, like)))


def test_a_scale_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ConfigError, match="not finite"):
        Heatmap().render(photograph(), np.ones((1, 2, 2)), Scale(0, float("nan")))


# --- sizes and sheets


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (200, 5), (5, 200), (32, 32)])
@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_any_picture_can_be_drawn_on(size: tuple[int, int], status: Status, mode: str) -> None:
    image, values = photograph(size).convert(mode), np.arange(49.0).reshape(1, 7, 7)
    for renderer in RENDERERS[:2]:
        drawn = renderer.render(image, values, Scale.of(values), status)
        assert (drawn.size, drawn.mode) == (size, "RGB")
    panel = RENDERERS[2].render(image, values, Scale.of(values), status)
    assert panel.mode == "RGB"
    assert panel.width > size[0]


def test_a_panel_holds_the_three_pictures() -> None:
    image, values = photograph(), np.random.default_rng(4).random((1, 7, 7))
    scale = Scale.of(values)
    panel = pixels(Panel().render(image, values, scale))
    parts = [image, Heatmap().render(image, values, scale), Overlay().render(image, values, scale)]
    for i, part in enumerate(parts):
        x = 8 + i * (image.width + 8)
        rows = [y for y in range(panel.shape[0] - 48) if np.array_equal(panel[y : y + 48, x : x + 64], pixels(part))]
        assert len(rows) == 1, i


def test_a_sheet_places_pictures_under_their_titles() -> None:
    red, blue = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (10, 40), "blue")
    made = sheet([[red, None], [None, blue]], ("one", "two"), ("first\nrow", "second"), gap=4)
    drawn = pixels(made)
    assert (drawn == [255, 0, 0]).all(-1).sum() == 600
    assert (drawn == [0, 0, 255]).all(-1).sum() == 400
    bare = sheet([[red, None], [None, blue]], gap=4)
    assert bare.size == (4 + 30 + 4 + 10 + 4, 4 + 20 + 4 + 40 + 4)
    assert made.width > bare.width
    assert made.height > bare.height


def test_a_sheet_without_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        sheet([[None]])


def test_long_titles_are_cut_and_control_characters_left_out() -> None:
    font = font_of(12)
    assert fitted("short", 500, font) == "short"
    cut = fitted("a title that is much too long for its column", 60, font)
    assert cut.endswith("…")
    assert font.getlength(cut) <= 60
    assert fitted("a\x07b", 500, font) == "a b"


def test_renderers_and_pages_import_no_torch() -> None:
    code = (
        "import sys, xai_plugins.renderers.heatmap, xai_plugins.renderers.overlay, xai_plugins.renderers.panel;"
        "import xai_framework.report.page; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
