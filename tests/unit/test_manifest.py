"""The kept list of a dataset's rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from xai_plugins.datasets.shapes import Shapes

from xai_framework.core.errors import StoreError
from xai_framework.manifest import manifest_of


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be written: Not a directory.*writable"):
        manifest_of(Shapes(images=2), "shapes", tmp_path / "outputs/store/manifests")


def test_a_torn_manifest_is_made_again(tmp_path: Path) -> None:
    made = manifest_of(Shapes(images=3), "shapes", tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for size in range(0, len(whole), 40):
        file.write_bytes(whole[:size])
        assert manifest_of(Shapes(images=3), "shapes", tmp_path) == made
        assert file.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == [file.name]
