"""Run folders that are damaged, incomplete or made up: an error with the file and the remedy, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_samples import keys, make_cell, write

from xai_framework.core.errors import StoreError
from xai_framework.registry import Registry
from xai_framework.report.gather import view_of
from xai_framework.store import MapFile, open_run, read_run, write_run


class Study:
    """One stored cell and its run folder."""

    def __init__(self, outputs: Path) -> None:
        cell = make_cell(outputs / "store")
        write(cell, [0, 1, 2])
        self.maps = cell.merge(keys([0, 1, 2]), "all")
        self.folder = outputs / "runs" / "demo"
        self.fact = {"label": "gradcam", "id": cell.id, "file": str(self.maps.relative_to(outputs))}
        write_run(self.folder, {"study": "demo", "cells": [self.fact], "versions": {"torch": "2"}})

    def say(self, record: dict[str, Any] | None = None, **cell: Any) -> None:
        """Change what run.json says of the study, or of its cell."""
        file = self.folder / "run.json"
        said = json.loads(file.read_text("utf-8"))
        said |= {"cells": [{**self.fact, **cell}]} | (record or {})
        file.write_text(json.dumps(said))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "outputs")


def _everything(folder: Path) -> None:
    """All that the page reads."""
    for maps in open_run(folder).values():
        np.asarray(maps)
        [maps.row(i) for i in range(len(maps))]
    list(view_of(open_run(folder), Registry([])).rows)


def _blank(file: Path, start: int) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:start] + bytes(64) + data[start + 64 :])


def _folder_for_file(study: Study) -> None:
    study.maps.unlink()
    study.maps.mkdir()


def _pipe_for_file(study: Study) -> None:
    """Opening it would wait for ever."""
    study.maps.unlink()
    os.mkfifo(study.maps)


FILES: dict[str, tuple[Callable[[Study], Any], str]] = {
    "gone": (lambda s: s.maps.unlink(), "no such file"),
    "a folder": (_folder_for_file, "no such file"),
    "a pipe": (_pipe_for_file, "no such file"),
    "empty": (lambda s: s.maps.write_bytes(b""), "is empty; delete it and run again"),
    "no HDF5": (lambda s: s.maps.write_text("hello"), "is no HDF5 file; delete it and run again"),
    "truncated": (lambda s: s.maps.write_bytes(s.maps.read_bytes()[:3000]), "checksum; run 'xai verify --repair'"),
    "a blank page": (lambda s: _blank(s.maps, 1000), "does not match its checksum"),
    "swapped": (lambda s: shutil.copy(next(s.maps.parent.glob("shards/*.h5")), s.maps), "does not match its checksum"),
    "elsewhere": (lambda s: s.say(file="/etc/passwd"), "names a file outside the outputs folder: '/etc/passwd'"),
    "NUL in its name": (lambda s: s.say(file="store/a\x00b.h5"), "outside the outputs folder"),
    "too long a name": (lambda s: s.say(file="store/" + "x" * 5000), "cannot be read: File name too long"),
    "no name": (lambda s: s.say(file=""), "no such file"),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_stored_file_that_is_not_what_it_was(fault: str, study: Study) -> None:
    change, message = FILES[fault]
    change(study)
    with pytest.raises(StoreError, match=message):
        _everything(study.folder)


RECORDS: dict[str, dict[str, Any]] = {
    "versions are a list": {"versions": [1]},
    "versions are nothing": {"versions": None},
    "command is a number": {"command": 3},
    "study is a list": {"study": ["a"]},
    "cells are a mapping": {"cells": {"a": 1}},
    "a cell is a number": {"cells": [3]},
    "a cell lacks its file": {"cells": [{"label": "a", "id": "b"}]},
    "not a number": {"note": float("nan")},
    "half a character": {"note": "\udcff"},
}
CELLS: dict[str, Any] = {"method": "x", "dataset": 5, "backbone": 3, "target": [], "label": 7, "id": None}


@pytest.mark.parametrize("fault", RECORDS)
def test_a_record_of_other_types_is_damaged(fault: str, study: Study) -> None:
    study.say(RECORDS[fault])
    with pytest.raises(StoreError, match=r"run.json: is damaged; delete it and run the study again"):
        read_run(study.folder)


@pytest.mark.parametrize("key", CELLS)
def test_a_cell_of_other_types_is_damaged(key: str, study: Study) -> None:
    study.say(**{key: CELLS[key]})
    with pytest.raises(StoreError, match="is damaged"):
        _everything(study.folder)


def test_a_record_that_is_no_file(study: Study, tmp_path: Path) -> None:
    (study.folder / "run.json").unlink()
    with pytest.raises(StoreError, match=r"no run is stored here; give a folder that holds run.json"):
        open_run(study.folder)
    (study.folder / "run.json").mkdir()
    with pytest.raises(StoreError, match="is damaged"):
        open_run(study.folder)
    with pytest.raises(StoreError, match="no run is stored here"):
        open_run(tmp_path / "nowhere")


def test_a_record_that_is_too_large(study: Study) -> None:
    with (study.folder / "run.json").open("r+b") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(StoreError, match="is too large for a run record"):
        open_run(study.folder)


def test_unknown_plugins_in_a_record_leave_the_maps(study: Study) -> None:
    """As of a run whose plugins are not installed here: the page says why it shows no photograph."""
    study.say(method={"name": "nowhere"}, dataset={"name": "nowhere", "path": "/etc"})
    rows = list(view_of(open_run(study.folder), Registry([])).rows)
    assert len(rows) == 3
    assert "no dataset 'nowhere'" in rows[0].missing


def test_a_file_that_is_being_written_is_told_apart(study: Study) -> None:
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    file = study.maps.with_name("other.h5")
    file.write_bytes(study.maps.read_bytes())
    asked = [sys.executable, "-c", code, str(file)]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(StoreError, match="is locked by another program"):
            MapFile(file)
        writer.communicate()
    MapFile(file).close()


def test_hostile_names_in_a_record_stay_text(study: Study) -> None:
    """What the page does with them is held by test_report and by the browser tests."""
    name = "\"'><script>alert(1)</script>\u2028../.."
    study.say({"study": name, "command": name, "config_yaml": name}, label=name, backbone=name, target=name)
    assert list(open_run(study.folder)) == [name]
    view = view_of(open_run(study.folder), Registry([]))
    assert view.title == name
    assert len(list(view.rows)) == 3
