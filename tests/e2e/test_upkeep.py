"""xai plan, status, verify, repair, gc and merge as their users run them, and runs in several processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xai_framework.cli.main import main

STUDY = ["dataset.images=10", "unit=4", "method=[gradient,gradcam,smoothgrad]"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> int:
    """``xai run`` of the study, with some words in place of its own."""
    typed = {word.partition("=")[0]: word for word in [*STUDY, "report=false", *words]}
    if "smoothgrad" in typed["method"]:
        typed["samples"] = "method.smoothgrad.samples=3"
    return main(["run", *typed.values()])


def digest(capsys: pytest.CaptureFixture[str], outputs: str = "outputs") -> str:
    capsys.readouterr()
    assert main(["verify", outputs]) == 0
    return capsys.readouterr().out.splitlines()[-1].split(": ")[1]


def files(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_a_plan_counts_and_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["plan", *STUDY, "method.smoothgrad.samples=3", "-m", "backbone=shapes_vgg,shapes_resnet", "--json"]) == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert list(folder.iterdir()) == []
    assert len(facts["cells"]) == 6
    for group in facts["groups"]:
        assert (group["images"], group["cells"], group["maps"], group["missing"], group["units"]) == (10, 3, 30, 30, 3)
        # one clean pass for both, three noisy ones, each forward and back; alone, both start with a clean pass
        assert group["passes"] == 10 * (2 * 4)
        assert group["passes_alone"] == 10 * (2 + 2 + 1 + 2 * 3)
        assert 0 < group["seconds"] < 60
        assert group["disk"] >= 30 * 3 * 96 * 96 * 4
    assert run() == 0
    before = files(folder)
    capsys.readouterr()
    assert run("dataset.images=12", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "6 of 36 maps to compute" in said
    assert "about" in said
    assert files(folder) == before
    assert main(["plan", *STUDY, "method.smoothgrad.samples=3"]) == 0
    assert "nothing left to compute" in capsys.readouterr().out


def test_a_plan_explains_mistakes_as_a_run_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "method=[gradiant]"]) == 1
    assert "did you mean 'gradient'" in capsys.readouterr().err


def test_workers_give_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert run("outputs=two", "executor=processes", "executor.workers=2") == 0
    said = capsys.readouterr().out
    assert "30/30 maps" in said
    assert digest(capsys) == digest(capsys, "two")
    assert run("outputs=two", "executor=processes") == 0
    assert "nothing left to compute" in capsys.readouterr().out


def test_a_mistake_that_a_worker_finds_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("executor=processes", "executor.workers=1", "method.gradcam.layer=featurs") == 1
    assert "did you mean 'features'" in capsys.readouterr().err


def test_status_from_another_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dataset.images=400", "method=[rise]", "method.rise.masks=400", "unit=2", "study=long", "report=false"]
    process = subprocess.Popen([sys.executable, "-m", "xai_framework", "run", *words], stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            time.sleep(0.2)
            if (folder / "outputs/runs/long/events").is_dir() and "stored" in "".join(
                p.read_text() for p in (folder / "outputs/runs/long/events").iterdir()
            ):
                break
        capsys.readouterr()
        assert main(["status", "outputs/runs/long", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["ended"] == ""
        assert 0 < facts["maps"][0] < facts["maps"][1] == 400
        assert main(["status"]) == 0
        assert "outputs/runs/long: running" in capsys.readouterr().out
        assert main(["gc"]) == 1
        assert "a run is writing here" in capsys.readouterr().err
    finally:
        process.terminate()
        assert process.wait(20) == 75
    assert main(["status"]) == 0
    assert "stopped: SIGTERM" in capsys.readouterr().out


def test_status_names_the_nearest_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert main(["status", "outputs/runs/defalt"]) == 1
    assert "did you mean 'default'" in capsys.readouterr().err
    assert main(["status", "--follow"]) == 0


def test_gc_frees_what_results_do_not_need(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert run("dataset.images=6") == 0
    assert run("method=[edge]", "study=gone") == 0
    shutil.rmtree(folder / "outputs/runs/gone")
    (folder / "outputs/store/shapes_vgg/.tmp-99999999-abcdef01@nowhere").write_bytes(b"x")
    expected = digest(capsys)
    before = files(folder / "outputs")
    assert main(["gc", "--cells"]) == 0
    said = capsys.readouterr().out
    assert "no study names this cell" in said
    assert "could be freed" in said
    assert files(folder / "outputs") == before
    assert main(["gc", "--yes"]) == 0
    assert digest(capsys) == expected
    shards = [len(list(c.glob("shards/*.h5"))) for c in sorted((folder / "outputs/store/shapes_vgg").glob("g*"))]
    assert max(shards) == 1
    assert main(["gc", "--yes", "--cells"]) == 0
    assert not list((folder / "outputs/store/shapes_vgg").glob("edge-*"))
    capsys.readouterr()
    assert main(["gc", "--cells"]) == 0
    assert capsys.readouterr().out.split()[0] == "0.0"
    assert run() == 0
    assert "nothing left to compute" in capsys.readouterr().out
    assert run("dataset.images=11") == 0  # new images are still computed, and only they
    assert "3/3 maps" in capsys.readouterr().out


def test_results_of_two_machines_are_brought_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("method=[gradient,gradcam]", "outputs=a") == 0
    assert run("outputs=b", "dataset.images=6") == 0
    assert run("outputs=whole") == 0
    capsys.readouterr()
    assert main(["merge", "a", "b", "--into", "c"]) == 0
    assert main(["merge", "a", "b", "--into", "c"]) == 0
    assert "a: 0 new shards" in capsys.readouterr().out
    assert run("outputs=c") == 0
    assert "4/4 maps" in capsys.readouterr().out  # smoothgrad of the last four images
    name = "store/shapes_vgg/*/maps-*.h5"
    whole = {p.relative_to("whole"): p.read_bytes() for p in Path("whole").glob(name)}
    assert whole
    assert all((Path("c") / place).read_bytes() == data for place, data in whole.items())
    assert main(["merge", "c", "--into", "c"]) == 1
    assert main(["merge", "nowhere"]) == 1
    assert "no store is here" in capsys.readouterr().err


def test_merging_refuses_damage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("outputs=a") == 0
    shard = next(Path("a/store").glob("*/gradcam-*/shards/*.h5"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert main(["merge", "a"]) == 1
    assert "does not match its checksum" in capsys.readouterr().err
    assert main(["repair", "a"]) == 0
    assert main(["merge", "a"]) == 0


def test_policy_stops_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.py").write_text(
        "from dataclasses import dataclass\nfrom xai_framework.core import Explainer\n\n\n"
        "@dataclass(frozen=True)\nclass Bad(Explainer):\n    '''Fails.'''\n\n"
        "    def explain(self, probe, inputs, targets, rng):\n        raise ValueError('on purpose')\n"
    )
    words = ["plugins=[./bad.py]", "method=[gradient,bad]"]
    assert run(*words, "on_error=stop") == 4
    assert "a map failed" in capsys.readouterr().err
    assert run(*words, "max_failures=0.3", "study=share") == 4
    assert run(*words, "study=share") == 3
    said = capsys.readouterr()
    assert "on purpose" in said.err
    assert run(*words, "study=share") == 3
    assert "nothing left to compute" in capsys.readouterr().out
    assert run(*words, "study=share", "retry_failed=true") == 3
    assert "10/10 maps" in capsys.readouterr().out
