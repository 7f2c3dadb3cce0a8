"""The studies with known truth say what is known: ``truth`` and ``audit``, in a small size."""

from __future__ import annotations

from pathlib import Path

import pytest

import xai_framework as xai
from xai_framework.cli.main import main
from xai_framework.statistics import PairedComparison, leaderboard, paired_comparisons

HONEST = ["gradient", "integrated_gradients", "gradcam", "occlusion"]
TAG_SHARE = 10 * 10 / 96**2


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_metric_of(found: tuple[PairedComparison, ...], metric: str) -> list[PairedComparison]:
    chosen = [c for c in found if c.metric == metric]
    assert chosen
    return chosen


@pytest.mark.slow
def test_a_trained_network_beats_its_control_by_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    methods = f"method=[{','.join([*HONEST, 'random', 'edge'])}]"
    assert main(["run", "experiment=truth", "dataset.images=64", methods, "executor=serial", "report=false"]) == 0
    run = xai.open_run("outputs/runs/truth")
    found = paired_comparisons(run)
    assert {(c.backbone, c.against, c.dataset) for c in found} == {
        ("shapes_vgg", "shapes_vgg-untrained", f"objects={n}") for n in (2, 4)
    }
    metrics = {c.metric for c in found}
    assert len(metrics) == 7
    for metric in metrics - {"pointing_game", "grid_pointing_game"}:  # a share of hits needs more pictures than these
        for comparison in one_metric_of(found, metric):
            by = {p.label: p for p in comparison.pairs}
            for label in HONEST:
                assert by[label].first.low > by[label].second.high, (metric, comparison.dataset, label)
                assert by[label].p < 0.05
    for comparison in found:
        by = {p.label: p for p in comparison.pairs}
        assert by["gradcam"].first.low > by["gradcam"].second.high, comparison
        for control in ("random", "edge"):
            assert not by[control].apart, (comparison.metric, control)
            assert not by[control].distinguishable, (comparison.metric, control)
    capsys.readouterr()
    assert main(["table", "outputs/runs/truth"]) == 0
    said = capsys.readouterr().out
    assert said.count("shapes_vgg against shapes_vgg-untrained") == 2
    assert "objects=2" in said


@pytest.mark.slow
def test_the_audit_finds_the_tag_in_the_one_network_only(capsys: pytest.CaptureFixture[str]) -> None:
    methods = f"method=[{','.join([*HONEST, 'random'])}]"
    small = ["dataset.images=24", methods, "executor=serial", "report=false"]
    assert main(["run", "experiment=audit", *small]) == 0
    run = xai.open_run("outputs/runs/audit")
    (energy,) = one_metric_of(paired_comparisons(run, "shapes_clean"), "energy_in_region")
    assert (energy.backbone, energy.target) == ("shapes_shortcut", "star")
    by = {p.label: p for p in energy.pairs}
    for label in HONEST:
        assert by[label].apart
        assert by[label].p < 0.05
        assert by[label].first.low > max(2 * by[label].second.high, 2 * TAG_SHARE), label
    assert by["random"].first.low < TAG_SHARE < by["random"].first.high
    assert not by["random"].distinguishable
    board = leaderboard(run)
    assert {c.common for c in board.comparisons} == {24}
    assert {row["better"] for row in board.rows()} == {"neither"}  # much on a tag is no merit of a method
    assert not any("best" in c.words or "worse" in c.words for c in board.comparisons)
    capsys.readouterr()
    assert main(["table", "outputs/runs/audit", "--against", "shapes_clean", "--metric", "energy_in_region"]) == 0
    assert "shapes_shortcut against shapes_clean, star" in capsys.readouterr().out
    for form, start in (("csv", "metric,better,backbone,against"), ("markdown", "## "), ("latex", "% ")):
        assert main(["table", "outputs/runs/audit", "--against", "shapes_clean", "--format", form]) == 0
        assert capsys.readouterr().out.startswith(start)
    assert main(["table", "outputs/runs/audit", "--against", "shapes_claen"]) == 1
    assert "did you mean 'shapes_clean'" in capsys.readouterr().err


def test_the_audit_takes_own_pictures_and_checkpoints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another dataset, another pair of backbones, another class: every part is replaced on the command line."""
    from PIL import Image

    (folder / "photos").mkdir()
    for i in range(2):
        Image.new("RGB", (40, 40), (90 * i, 60, 30)).save(folder / "photos" / f"{i}.png")
    own = ["dataset=folder", "dataset.path=photos", "target.index=circle", "backbone=shapes_vgg,shapes_resnet"]
    less = ["method=[gradient]", "metric=[]", "executor=serial", "report=false"]
    assert main(["run", "-m", "experiment=audit", *own, *less]) == 0
    cells = xai.open_run("outputs/runs/audit").cells
    assert {(c.facts["backbone"], c.facts["target"], len(c)) for c in cells} == {
        ("shapes_vgg", "circle", 2),
        ("shapes_resnet", "circle", 2),
    }
    assert "left out" in capsys.readouterr().err
