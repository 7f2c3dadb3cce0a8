"""Controls stand beside the methods wherever metrics are chosen, unless they are switched off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xai_framework.cli.main import main
from xai_framework.cli.run import composed_jobs
from xai_framework.registry import Registry
from xai_framework.spec import Job
from xai_framework.spec.compose import job_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job(*words: str) -> Job:
    registry = Registry()
    (config,) = composed_jobs(list(words), registry, []) or ()
    return job_of(config, registry)


def test_they_come_with_metrics_and_only_with_metrics() -> None:
    plain = job("method=[gradient]")
    assert (list(plain.methods), plain.controls) == (["gradient"], ())
    measured = job("method=[gradient]", "metric=[gini]")
    assert list(measured.methods) == ["gradient", "random", "edge", "centre"]
    assert measured.controls == ("random", "edge", "centre")
    assert list(job("method=[gradient]", "metric=[gini]", "controls=[]").methods) == ["gradient"]
    chosen = job("method=[gradient]", "metric=[gini]", "controls=[center,Constant]")
    assert chosen.controls == ("centre", "constant")


def test_what_is_chosen_already_is_not_added() -> None:
    own = job("method=[gradient]", "metric=[gini]", "+method@method.noise=random", "method.noise.cells=7")
    assert list(own.methods) == ["gradient", "noise", "edge", "centre"]
    assert own.methods["noise"]["cells"] == 7
    taken = job("method=[random]", "metric=[gini]", "+method@method.edge=gradient")
    assert taken.methods["edge"]["name"] == "gradient"
    assert taken.methods["edge_control"]["name"] == "edge"


def test_a_wrong_name_is_a_mistake_also_without_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "controls=[randm]"]) == 1
    said = capsys.readouterr().err
    assert "controls: no method 'randm'" in said
    assert "random" in said


def test_a_study_tells_of_them_and_records_which_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["dataset.images=4", "report=false"]
    assert main(["run", *small, "method=[gradient,constant]", "metric=[energy_in_region]", "controls=[centre]"]) == 0
    said = capsys.readouterr().out
    assert "among them the controls centre (controls=[] leaves them out)" in said
    record = json.loads(Path("outputs/runs/default/run.json").read_text())
    flags = {cell["label"]: cell.get("control", False) for cell in record["cells"]}
    assert flags == {"gradient": False, "constant": True, "centre": True}
    assert {v["label"] for v in record["values"] if v.get("control")} == {"constant", "centre"}
    assert main(["table"]) == 0
    assert "centre (control)" in capsys.readouterr().out
    # the same cell as one that is chosen by hand: nothing is computed again
    assert main(["run", *small, "method=[gradient,constant,centre]", "controls=[]"]) == 0
    assert "nothing left to compute" in capsys.readouterr().out


def test_a_plan_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "dataset.images=2", "method=[gradient]", "metric=[gini]"]) == 0
    said = capsys.readouterr().out
    assert "with the controls random, edge, centre (controls=[] leaves them out)" in said
    assert not Path("outputs").exists()


def test_controls_are_known_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert Registry().controls == {"random", "edge", "centre", "constant"}
    assert main(["show", "method", "edge"]) == 0
    assert "a control" in capsys.readouterr().out
    assert main(["show", "method", "gradient"]) == 0
    assert "a control" not in capsys.readouterr().out
