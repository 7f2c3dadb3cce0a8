"""Photograph to input and back: boxes, masks, maps; pictures of any size and number of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xai_framework.core import Geometry, ImageError, Preprocess, resize

sides = st.integers(20, 400)


@given(height=sides, width=sides, crop=st.integers(8, 64))
def test_boxes_go_there_and_back(height: int, width: int, crop: int) -> None:
    geometry = Preprocess(resize=64, crop=(crop, crop)).geometry((height, width))
    inner = (1.0, 2.0, crop - 1.0, crop - 2.0)
    there = geometry.box_to_image(inner)
    back = geometry.box_to_input(there)
    assert back is not None
    np.testing.assert_allclose(back, inner, atol=1e-6)


def test_a_box_follows_the_object_through_resize_and_crop() -> None:
    picture = Image.new("RGB", (300, 200))
    picture.paste((255, 255, 255), (120, 60, 180, 120))
    preprocess = Preprocess(resize=100, crop=(80, 80))
    pixels, geometry = preprocess.pixels(picture)
    box = geometry.box_to_input((120, 60, 180, 120))
    assert box == pytest.approx((25, 20, 55, 50))
    ys, xs = np.nonzero(pixels[0] > 0.5)
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == box
    mask = np.zeros((200, 300), bool)
    mask[60:120, 120:180] = True
    assert np.array_equal(geometry.mask_to_input(mask), pixels[0] > 0.5)
    seen = np.asarray(geometry.picture_to_input(picture))[..., 0] / 255
    assert np.abs(seen - pixels[0]).max() < 0.02


def test_a_box_outside_the_crop_is_invisible() -> None:
    geometry = Preprocess(resize=100, crop=(50, 50)).geometry((200, 300))
    assert geometry.box_to_input((0, 0, 20, 20)) is None


def test_a_crop_larger_than_the_picture_is_padded() -> None:
    pixels, geometry = Preprocess(crop=(60, 60)).pixels(Image.new("RGB", (40, 20), "white"))
    assert pixels.shape == (3, 60, 60)
    assert pixels.sum() == 3 * 40 * 20
    seen = np.asarray(geometry.picture_to_input(Image.new("RGB", (40, 20), "white"))) / 255
    assert np.array_equal(seen.transpose(2, 0, 1), pixels)


def test_a_map_on_the_photograph_is_nan_outside_the_view() -> None:
    geometry = Geometry((10, 20), (5, 5), (5.0, 0.0, 15.0, 10.0))
    whole = geometry.map_to_image(np.full((5, 5), 3.0))
    assert np.isnan(whole[:, :5]).all()
    assert np.isnan(whole[:, 15:]).all()
    assert (whole[:, 5:15] == 3).all()


@pytest.mark.parametrize(
    ("source", "size"), [((7, 7), (224, 224)), ((5, 9), (13, 40)), ((1, 1), (8, 8)), ((6, 6), (6, 6))]
)
def test_upsampling_is_torchs_bilinear(source: tuple[int, int], size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *source, dtype=torch.float64)
    expected = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize(maps, size), expected)
    np.testing.assert_allclose(resize(maps.numpy(), size), expected.numpy(), atol=1e-12)


def test_downsampling_skips_no_value() -> None:
    maps = torch.randn(1, 1, 32, 48, dtype=torch.float64)
    expected = F.interpolate(maps, (8, 12), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(resize(maps, (8, 12)), expected)


def test_gray_models_and_models_of_many_channels() -> None:
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8))
    gray = Preprocess(crop=(16, 16), order="gray", mean=(0.5,), std=(0.5,))
    pixels, _ = gray.pixels(photograph)
    luma = np.asarray(photograph).astype(float) @ (0.299, 0.587, 0.114)
    assert pixels.shape == (1, 16, 16)
    np.testing.assert_allclose(pixels[0] * 255, luma[2:18, 2:18], atol=1)
    five = Preprocess(resize=(8, 8), mean=(0.0,) * 5, std=(1.0,) * 5)
    array = np.random.default_rng(0).random((16, 16, 5))
    assert five.pixels(array)[0].shape == (5, 8, 8)
    with pytest.raises(ImageError, match="takes 5 channels"):
        five.pixels(photograph)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((8, 8, 4)), "(height, width, 3)"),
        (np.zeros((3, 8, 8)), "channels last"),
        (np.zeros((1, 8, 8, 3)), "(height, width, 3)"),
        (np.full((8, 8, 3), np.nan), "NaN"),
        (np.full((8, 8, 3), -2.0), "before normalisation"),
        (np.full((8, 8, 3), 200.0), "must lie in [0,1]"),
    ],
)
def test_arrays_that_do_not_fit_are_named(array: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        Preprocess(crop=(8, 8)).pixels(array)
    assert said in str(caught.value)


def test_arrays_of_any_memory_layout() -> None:
    array = np.random.default_rng(0).random((8, 8, 3))
    plain, _ = Preprocess().pixels(array)
    for odd in (
        array.astype(">f4"),
        np.asfortranarray(array),
        array[::-1][::-1],
        (array * 255).round().astype(np.uint8),
    ):
        np.testing.assert_allclose(Preprocess().pixels(odd)[0], plain, atol=3e-3)


def test_an_extreme_shape_is_refused_before_it_fills_memory() -> None:
    with pytest.raises(ImageError, match="would be resized to"):
        Preprocess(resize=256, crop=(224, 224)).pixels(Image.new("RGB", (1, 5000)))


def test_normalising_is_undone() -> None:
    how = Preprocess(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), range=255.0)
    pixels = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(how.denormalise(how.normalise(pixels)), pixels)
