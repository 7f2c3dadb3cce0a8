"""The views of ``xai table``, in every format, from comparisons made by hand."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from xai_framework.cli.main import main
from xai_framework.statistics import Leaderboard, compared


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Leaderboard:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.6, 24)
    rows = {"grad_cam": base + 0.3, "sg[seed=0]": base + 0.1, "sg[seed=1]": base + 0.1 + rng.normal(0, 0.01, 24)}
    rows |= {"a|b": base + 0.02 * rng.normal(size=24), "centre": base - 0.1}
    first = compared(rows, metric="m", backbone="net", target="predicted", controls={"centre"})
    second = compared(rows, metric="n", backbone="net", target="predicted", controls={"centre"}, higher_is_better=False)
    made = Leaderboard((first, second))
    monkeypatch.setattr("xai_framework.statistics.leaderboard", lambda _run: made)
    monkeypatch.setattr("xai_framework.store.open_run", lambda _path: None)
    monkeypatch.setattr("xai_framework.cli.upkeep.run_folder", lambda path: path)
    monkeypatch.setenv("COLUMNS", "160")
    return made


@pytest.mark.usefixtures("board")
def test_stability_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "x", "--stability", "--metric", "m"]) == 0
    said = capsys.readouterr().out
    assert "m: net, predicted, 24 images, drawn again" in said
    best = next(line for line in said.splitlines() if line.startswith("grad_cam"))
    assert best.split() == ["grad_cam", "1", "100%", "100%", "1"]
    assert "centre (control)" in said
    assert "grad_cam is first in 100 % of samples of 24 images" in said
    assert "another seed moves the mean of sg by" in said
    assert "n: net" not in said


@pytest.mark.usefixtures("board")
def test_agreement_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "x", "--agreement"]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in said.splitlines() if line}
    assert lines["m"] == ["m", "1.00", "-1.00"]
    assert "m and n (-1.00)" in said  # four methods: no tau is rarer than chance


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize("view", ["--stability", "--agreement"])
def test_for_programs(view: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "x", view, "--format", "csv"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert {row[0] for row in rows} > {"table"}
    assert len({len(r) for r in rows if "drawn again" in r[0]}) <= 1
    assert main(["table", "x", view, "--format", "markdown"]) == 0
    said = capsys.readouterr().out
    tables = said.count("|---|")
    assert tables == said.count("## ")
    assert view == "--agreement" or "| a\\|b |" in said
    assert main(["table", "x", view, "--format", "latex"]) == 0
    said = capsys.readouterr().out
    assert said.count("\\begin{tabular}") == said.count("\\end{tabular}") == tables
    assert view == "--agreement" or "grad\\_cam & 1 & 100\\% &" in said


@pytest.mark.usefixtures("board")
def test_one_view_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["table", "x", "--stability", "--agreement"])
    assert "not allowed with" in capsys.readouterr().err
