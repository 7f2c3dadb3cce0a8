"""Opening picture files: what is accepted, how it is converted, and how broken ones are refused."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from xai_framework.core import ImageError, open_image
from xai_framework.core import images as module


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def put(folder: Path, data: bytes, name: str = "picture") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_come_back_as_they_were(kind: str, tmp_path: Path) -> None:
    assert np.array_equal(open_image(put(tmp_path, encoded(noise(), kind))), noise())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(put(tmp_path, encoded(noise(), "PNG", exif=exif)))
    array = np.asarray(noise())
    turned = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.transpose(1, 0, 2),
        6: array.transpose(1, 0, 2)[:, ::-1],
        7: array.transpose(1, 0, 2)[::-1, ::-1],
        8: array.transpose(1, 0, 2)[::-1],
    }[orientation]
    assert np.array_equal(opened, turned)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert open_image(put(tmp_path, encoded(clear, "PNG"))).getpixel((0, 0)) == (255, 255, 255)
    half = Image.new("LA", (4, 4), (0, 128))
    value = open_image(put(tmp_path, encoded(half, "PNG"))).getpixel((0, 0))
    assert value == (127, 127, 127)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert open_image(put(tmp_path, encoded(palette, "PNG"))).getpixel((0, 0)) == (10, 20, 30)
    assert open_image(put(tmp_path, encoded(palette, "PNG", transparency=1))).getpixel((0, 0)) == (255, 255, 255)


def test_other_modes(tmp_path: Path) -> None:
    deep = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.uint16))
    assert [open_image(put(tmp_path, encoded(deep, "PNG"))).getpixel((i, 0))[0] for i in range(3)] == [0, 1, 255]
    float_picture = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert open_image(put(tmp_path, encoded(float_picture, "TIFF"))).getpixel((1, 0)) == (128, 128, 128)
    bits = Image.new("1", (3, 3), 1)
    assert open_image(put(tmp_path, encoded(bits, "PNG"))).getpixel((0, 0)) == (255, 255, 255)
    ink = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert open_image(put(tmp_path, encoded(ink, "JPEG"))).getpixel((0, 0)) == (255, 255, 255)
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    frames = encoded(first, "GIF", save_all=True, append_images=[second])
    assert open_image(put(tmp_path, frames)).getpixel((0, 0)) == (255, 0, 0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: int, body: bytes | None = None) -> bytes:
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(rows))) if body is None else body
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


BROKEN = {
    "empty": (b"", "0 bytes"),
    "html": (b"<!DOCTYPE html><html>404</html>", "HTML page"),
    "text": (b"404 not found\n", "is text"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "psd": (b"8BPS" + bytes(40), "Photoshop"),
    "eps": (b"%!PS-Adobe-3.0 EPSF", "EPS"),
    "fits": (b"SIMPLE  =                    T" + bytes(50), "FITS"),
    "binary": (bytes(range(256)), "allowed: JPEG"),
    "few rows": (png(3), "incomplete"),
    "bad data": (png(8, b"not deflated"), "torn or damaged"),
    "torn png": (encoded(noise(), "PNG")[:500], "torn or damaged"),
    "torn jpeg": (encoded(noise(200, 200), "JPEG")[:2000], "torn or damaged"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named(kind: str, tmp_path: Path) -> None:
    data, said = BROKEN[kind]
    with pytest.raises(ImageError) as caught:
        open_image(put(tmp_path, data), id="sample 7")
    assert said in str(caught.value)
    assert str(caught.value).startswith("sample 7: ")


def test_a_whole_hand_made_png_is_fine(tmp_path: Path) -> None:
    assert open_image(put(tmp_path, png(8))).size == (8, 8)


def test_missing_forbidden_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="cannot be opened"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be opened"):
        open_image("a\0b")
    if os.geteuid() != 0:  # root may read everything
        file = put(tmp_path, png(8))
        file.chmod(0)
        with pytest.raises(ImageError, match="permission"):
            open_image(file)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
    with pytest.raises(ImageError, match=str(module.MOST_PIXELS)):
        open_image(put(tmp_path, bomb))


def test_thin_and_tiny_pictures_open(tmp_path: Path) -> None:
    for size in ((1, 1), (1, 5000), (5000, 1)):
        assert open_image(put(tmp_path, encoded(Image.new("RGB", size), "PNG"))).size == size


@pytest.mark.parametrize("name", ["ünï 雪.png", 'it\'s "quoted".png', "a" * 251 + ".png", "new\nline.png", "-x.png"])
def test_odd_names(name: str, tmp_path: Path) -> None:
    assert open_image(put(tmp_path, png(8), name)).size == (8, 8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"]))
def test_a_damaged_file_is_a_picture_or_an_image_error(data: st.DataObject, kind: str, tmp_path: Path) -> None:
    whole = encoded(noise(), kind)
    cut = data.draw(st.integers(0, len(whole)))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole[:cut] if data.draw(st.booleans()) else whole)
    if at < len(damaged):
        damaged[at] ^= data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):  # anything else, or a crash of the interpreter, fails the test
        assert open_image(put(tmp_path, bytes(damaged))).mode == "RGB"


def test_all_photographs_open(real_data: Path) -> None:
    import csv

    for line in csv.DictReader((real_data / "labels.csv").read_text("utf-8").splitlines()):
        assert open_image(real_data / line["file"]).size == (int(line["width"]), int(line["height"]))
