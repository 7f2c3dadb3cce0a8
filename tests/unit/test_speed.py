"""The timings against other libraries run and say what was measured. Their figures are for `make bench`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as benchmarks
from benchmarks.networks import REAL, AbsentError, network
from benchmarks.speed import page, peers
from benchmarks.speed.row import Row, grouped
from benchmarks.timing import Clock, Spread, interleaved, ratios


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rows_of(work: str, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    with warnings.catch_warnings():
        assert benchmarks.main([work, "--quick", "--runs", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {"machine", "gflops", "limits", "rows"} <= said.keys()
    return said["rows"]


def test_a_work_is_measured_against_a_peer(capsys) -> None:
    pytest.importorskip("captum")
    row = next(r for r in rows_of("occlusion", capsys) if r["precision"] == "float32")
    assert row["peer"] == "captum"
    assert row["goal"] == 6
    assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
    assert row["ratio_as_built"]["median"] > 0
    assert row["ours_s"] > 0
    assert row["over_limit"]["median"] > 0
    assert row["forward"] == row["peer_forward"] - 1  # captum makes another clean pass
    assert row["error"] < 1e-4
    assert row["spearman"] > 0.99
    assert "windows at once" in row["setting"]


def test_a_peer_that_is_not_installed_is_left_out(capsys, monkeypatch) -> None:
    monkeypatch.setitem(peers._MODULES, "captum", "no_such_module")
    row = next(r for r in rows_of("occlusion", capsys) if r["precision"] == "float32")
    assert row["ratio"] is None
    assert "captum is not installed" in row["note"]
    assert row["over_limit"]["median"] > 0


def test_a_network_without_its_weights_is_left_out(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XAI_REAL_DATA", str(tmp_path))
    with pytest.raises(AbsentError, match="XAI_REAL_DATA"):
        network(REAL, 64)


def test_rounds_are_interleaved_and_end_with_the_budget() -> None:
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = interleaved(works, Clock(), 3, budget=60)
    assert order == list("ababab")
    assert {len(s) for s in seconds.values()} == {3}
    assert {len(s) for s in interleaved(works, Clock(), 3, budget=0).values()} == {1}
    assert ratios([2, 9, 4], [1, 3, 4]) == Spread(2, 1, 3)


def test_only_measured_lines_of_the_page_change(monkeypatch, tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    parts = [f"<!-- {p}: made by `make bench` -->\n<!-- end of {p} -->\n" for p in page.PARTS]
    file.write_text("# Speed\n" + "text\n".join(parts))
    monkeypatch.setattr(page, "PAGE", file)
    first, second = (Row(work, "net", "float32", "captum", note="before") for work in ("one", "two"))
    page.write({"table": page.table([first, second])})
    page.write({"table": page.table([Row("two", "net", "float32", "captum", note="after")]), "machine": "here"})
    lines = [line for line in file.read_text().splitlines() if line.startswith("|")]
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["before", "after"]
    assert file.read_text().count("text\n") == 2
    page.write({"table": page.table([first])}, whole=True)
    assert "| two |" not in file.read_text()
    assert set(page.PARTS) == {
        line.split()[1].rstrip(":") for line in file.read_text().splitlines() if "made by" in line
    }


def test_parts_in_the_same_setting_are_named_together() -> None:
    assert grouped([("A", "x"), ("B", "y"), ("C", "x"), ("", "z")]) == "A, C: x; B: y"
