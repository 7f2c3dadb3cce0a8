"""Metrics in a study: what they are given, what is stored of them, and what becomes of maps without evidence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import xai_framework as xai
from xai_framework.cli.main import main

PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_framework.core import Ask, Explainer, Metric, param


@dataclass(frozen=True)
class Inside(Metric):
    """Share of the positive heat inside the explained class's own regions."""

    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    family: ClassVar[str] = "localisation"
    needs_truth: ClassVar[bool] = True

    power: float = param(1.0, gt=0, doc="of the heat")

    def measure(self, case):
        heat = case.heat("positive") ** self.power
        values = torch.full((len(heat),), torch.nan, dtype=torch.float64)
        for i, one in enumerate(heat):
            mask = case.own_mask(i)
            if mask is None:
                case.undefined(i, "no region of the explained class")
            elif not one.any():
                case.undefined(i, "no positive heat")
            else:
                values[i] = float(one[mask].sum() / one.sum())
        return values


@dataclass(frozen=True)
class Again(Metric):
    """Whether the method gives the same map again."""

    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    family: ClassVar[str] = "robustness"
    explains: ClassVar[bool] = True

    def measure(self, case):
        maps = case.explain(case.probe, case.inputs, case.targets)
        return (maps - case.maps).abs().flatten(1).amax(1).double()


@dataclass(frozen=True)
class Probability(Metric):
    """The probability of the explained class."""

    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    family: ClassVar[str] = "faithfulness"

    def needs(self, about):
        return (Ask("score"),)

    def measure(self, case):
        return case.scored("probability").score(case.inputs, case.targets).double()


@dataclass(frozen=True)
class Sometimes(Metric):
    """Fails for pictures of one class."""

    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    family: ClassVar[str] = "complexity"

    never: int = param(0, doc="a class")

    def measure(self, case):
        if (case.classes == self.never).any():
            raise ValueError("cannot do this class")
        return torch.zeros(len(case.inputs), dtype=torch.float64)


@dataclass(frozen=True)
class Nothing(Explainer):
    """A zero map for the first picture of a batch."""

    def explain(self, probe, inputs, targets, rng):
        maps = probe.gradient(inputs, targets).clone()
        maps[[i for i, (image, _) in enumerate(rng.rows) if image.endswith("0")]] = 0
        return maps
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)
    return tmp_path


def run(*words: str, code: int = 0) -> xai.Run:
    typed = [
        "run",
        "plugins=[./mine.py]",
        "dataset.images=11",
        "dataset.objects=2",
        "unit=4",
        "report=false",
        "controls=[]",
        *words,
    ]
    assert main(typed) == code
    return xai.open_run("outputs/runs/default")


def numbers(stored: xai.Run, metric: str, label: str) -> np.ndarray:
    (found,) = [m for m in stored.measures if (m.facts["metric"], m.facts["label"]) == (metric, label)]
    return found.numbers


def test_a_metric_sees_the_stored_maps_and_the_truth_on_the_inputs_grid() -> None:
    stored = run("method=[gradcam,smoothgrad]", "method.smoothgrad.samples=3", "metric=[inside,again,probability]")
    from xai_plugins.datasets.shapes import Shapes

    from xai_framework.core import resize

    dataset = Shapes(images=11, objects=2)
    maps = stored["gradcam"]
    expected = []
    for i in range(11):
        heat = resize(np.asarray(maps[i], np.float64).sum(0)[None], (96, 96))[0].clip(min=0)
        mine = [r.mask for r in dataset[i].truth if r.label == maps.row(i).target_name or r.label == maps.row(i).target]
        mask = np.any([m for m in mine if m is not None], axis=0)
        expected.append(heat[mask].sum() / heat.sum())
    np.testing.assert_allclose(numbers(stored, "inside", "gradcam"), expected, rtol=1e-4)
    # explained again with the same noise: the same maps, bit for bit
    for label in ("gradcam", "smoothgrad"):
        np.testing.assert_array_less(numbers(stored, "again", label), 1e-5)
    told = [maps.row(i).probability for i in range(11)]
    np.testing.assert_allclose(numbers(stored, "probability", "gradcam"), told, rtol=1e-5)
    assert stored.measures[0].ids == maps.ids


def test_a_map_without_evidence_has_no_value_and_a_reason() -> None:
    stored = run("method=[nothing,gradient]", "metric=[probability,inside]")
    values = numbers(stored, "probability", "nothing")
    assert np.isnan(values[[0, 10]]).all()
    assert np.isfinite(np.delete(values, [0, 10])).all()
    (found,) = [m for m in stored.measures if (m.facts["metric"], m.facts["label"]) == ("probability", "nothing")]
    assert (found.row(0).status.name, found.row(0).reason) == ("not_applicable", "the map is zero")
    assert np.isfinite(numbers(stored, "probability", "gradient")).all()


def test_zero_is_a_value_and_a_failing_metric_fails_alone() -> None:
    never = run("method=[gradient]")["gradient"].row(5).target
    words = ("metric=[sometimes,probability]", f"metric.sometimes.never={never}")
    stored = run("method=[gradient]", *words, code=3)
    values = numbers(stored, "sometimes", "gradient")
    classes = np.array([stored["gradient"].row(i).target for i in range(11)])
    assert 0 < (classes == never).sum() < 11
    assert np.isnan(values[classes == never]).all()
    assert (values[classes != never] == 0).all()
    (found,) = [m for m in stored.measures if m.facts["metric"] == "sometimes"]
    assert "cannot do this class" in found.row(5).reason
    assert found.row(int(np.flatnonzero(classes != never)[0])).status.name == "ok"
    assert np.isfinite(numbers(stored, "probability", "gradient")).all()


def test_only_what_is_missing_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    run("method=[gradient]", "metric=[inside]")
    capsys.readouterr()
    run("method=[gradient]", "metric=[inside]")
    assert "nothing left to compute" in capsys.readouterr().out
    run("method=[gradient,gradcam]", "metric=[inside]")
    assert capsys.readouterr().out.count("11/11 maps") == 2  # gradcam's maps, and its metric
    stored = run("method=[gradient]", "metric=[inside]", "-m", "metric.inside.power=1,2")
    named = {m.facts["metric"] for m in stored.measures}
    assert named == {"inside", "inside[power=1]", "inside[power=2]"}
    assert main(["verify"]) == 0


def test_workers_measure_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("method=[gradient,smoothgrad]", "method.smoothgrad.samples=2", "metric=[inside,again]")
    first = run(*words)
    values = numbers(first, "inside", "smoothgrad")
    typed = ["dataset.images=11", "dataset.objects=2", "unit=4", "report=false", *words, "executor=processes"]
    assert main(["run", "plugins=[./mine.py]", *typed, "outputs=two"]) == 0
    np.testing.assert_array_equal(numbers(xai.open_run("two/runs/default"), "inside", "smoothgrad"), values)


def test_the_record_names_metrics_and_their_parameters() -> None:
    run("method=[gradient]", "metric=[inside]", "metric.inside.power=2")
    record = json.loads(Path("outputs/runs/default/run.json").read_text())
    (value,) = record["values"]
    assert (value["metric"], value["measure"], value["label"]) == (
        "inside",
        {"name": "inside", "power": 2.0},
        "gradient",
    )
