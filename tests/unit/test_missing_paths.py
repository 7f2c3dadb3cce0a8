"""A path that is not there: near names are offered, nonsense is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from xai_framework.core import instead_of


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("photos/a/1.JPG", "tests/test.py", ".git/icon.png", "holidays/2.png", "3.png", "table.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_near_name_alone_is_offered(place: Path) -> None:
    assert instead_of(place / "photoes", folder=True) == "did you mean 'photos'?"
    assert instead_of(place / "test", folder=True) == "did you mean 'tests'?"  # a typing error, whatever is inside
    assert instead_of(place / "tabel.csv", (".csv",)) == "did you mean 'table.csv'?"


def test_without_a_near_name_only_what_is_possible_is_listed(place: Path) -> None:
    assert instead_of(place / "pictures", folder=True) == "folders with pictures there: holidays, photos"
    assert instead_of(place / "somewhere.jpg") == "files that it could be there: 3.png"
    assert instead_of(place / "x.npz", (".npz",)).startswith("there are no files that it could be in ")


def test_a_missing_folder_above_is_named(place: Path) -> None:
    assert instead_of(place / "gone" / "deep" / "a.png") == f"there is no folder {str(place / 'gone')!r}"


def test_long_lists_are_cut(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(b"")
    found = instead_of(tmp_path / "elsewhere.png")
    assert found == "files that it could be there: 0.png, 1.png, 2.png, 3.png, 4.png, 5.png, ... (9 in all)"
