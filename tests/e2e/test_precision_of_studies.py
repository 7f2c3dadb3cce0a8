"""``precision: bfloat16`` and ``auto`` as a user types them: what is decided, where it is kept, what it changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import xai_framework as xai
from xai_framework.cli.main import main
from xai_framework.executors import runner
from xai_framework.executors import trial as trials
from xai_framework.executors.trial import Compared, Trial
from xai_framework.registry import Registry
from xai_framework.spec.job import Settings
from xai_framework.stop import Interrupted, Stop

RUN = ["run", "report=false"]
THREE = [*RUN, "dataset.images=3"]
AUTO = [*THREE, "precision=auto"]
RECORDS = Path("outputs/store/precision")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells(study: str = "default") -> list[dict[str, Any]]:
    return json.loads(Path(f"outputs/runs/{study}/run.json").read_text("utf-8"))["cells"]


def precision(cell: dict[str, Any]) -> str:
    return str(cell["recipe"].get("precision", "float32"))


def decide(monkeypatch: pytest.MonkeyPatch, rule: Callable[[Any, Any], float]) -> list[list[str]]:
    """Trials that measure what ``rule(group, cell)`` says, on one image; returns the methods of each."""
    made: list[list[str]] = []

    def trial(group: Any, rows: Sequence[int], registry: Registry, stop: Stop) -> Trial:
        made.append([c.label for c in group.cells])
        return Trial({c.store.id: (Compared("a", "0", rule(group, c), True),) for c in group.cells}, "cpu")

    monkeypatch.setattr(trials, "trial", trial)
    return made


BACKBONES = '''"""Two small networks that bfloat16 is too coarse for, 2026."""

from dataclasses import dataclass

import torch
from torch import nn

from xai_framework.core import ModelAdapter, Preprocess


class Cancels(nn.Module):
    """A large number is added and taken away again."""

    def __init__(self):
        super().__init__()
        self.large = nn.Parameter(torch.tensor(64.0))

    def forward(self, x):
        left = (x + self.large) - self.large
        score = left.square().mean((1, 2, 3))
        return torch.stack([score, -score], 1)


class Close(nn.Module):
    """Class 1 leads by 0.001, which bfloat16 rounds away."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([1.0, 1.001]))

    def forward(self, x):
        features = x.mean((1, 2, 3))[:, None] * 1e-6
        return torch.cat([features, -features], 1) + self.bias


class Stubborn(nn.Module):
    """Mixes its weights with a number of its own, in float32."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.shift = [torch.ones(3)]

    def forward(self, x):
        return self.head(x.mean((2, 3)) + self.shift[0])


@dataclass(frozen=True)
class Coarse(ModelAdapter):
    """One of them."""

    which: str = "Cancels"

    @property
    def preprocess(self):
        return Preprocess(resize=(16, 16))

    @property
    def labels(self):
        return ("yes", "no")

    def load(self):
        return globals()[self.which]()
'''
COARSE = ["plugins=[./coarse.py]", "backbone=coarse", "method=[gradient]"]


@pytest.fixture
def coarse(folder: Path) -> list[str]:
    (folder / "coarse.py").write_text(BACKBONES)
    return COARSE


def test_auto_is_the_precision_that_it_decides_on(capsys: pytest.CaptureFixture[str]) -> None:
    methods = "method=[gradient,gradcam,smoothgrad,random]"
    assert main([*AUTO, methods, "method.smoothgrad.samples=2"]) == 0
    said = capsys.readouterr().out
    found = {c["label"]: precision(c) for c in cells()}
    assert list(found) == ["gradient", "gradcam", "smoothgrad", "random"], "in the order asked for, under plain labels"
    assert found["gradcam"] == found["random"] == "bfloat16"
    assert found["gradient"] == "float32"
    assert said.count("\nprecision: bfloat16 for gradcam, ") == 1
    for cell in cells():
        name = cell["label"]
        samples = ["method.smoothgrad.samples=2"] if name == "smoothgrad" else []
        explicit = [f"precision={precision(cell)}", f"method=[{name}]", *samples]
        assert main([*THREE, *explicit, f"study={name}"]) == 0
        assert "nothing left to compute" in capsys.readouterr().out
        assert cells(name)[0]["id"] == cell["id"]
    maps = xai.open_run("outputs/runs/default")["gradcam"]
    assert '"precision":"bfloat16"' in maps.file.attributes["identity"]


def test_the_record_says_what_was_measured(folder: Path) -> None:
    assert main([*AUTO, "method=[gradient,gradcam]"]) == 0
    measured = {}
    for given in ("float32", "bfloat16"):
        assert main([*THREE, f"precision={given}", "method=[gradient,gradcam]", f"study={given}"]) == 0
        run = xai.open_run(f"outputs/runs/{given}")
        measured[given] = {label: np.asarray(run[label]) for label in run}
    ids = xai.open_run("outputs/runs/float32").ids
    for cell in cells():
        label, told = cell["label"], cell["gate"]
        pairs = zip(measured["float32"][label], measured["bfloat16"][label], strict=True)
        expected = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs]
        record = json.loads((folder / "outputs" / told["record"]).read_text("utf-8"))
        assert [c["image"] for c in record["images"]] == list(ids)
        assert all(len(c["content"]) == 64 for c in record["images"])
        assert [c["spearman"] for c in record["images"]] == pytest.approx(expected, abs=1e-9)
        assert told["lowest"] == pytest.approx(min(expected), abs=1e-9)
        assert told["image"] == ids[int(np.argmin(expected))]
        assert (record["precision"] == "bfloat16") == (min(expected) >= 0.99)
        assert record["versions"]["torch"] == version("torch")


def test_a_second_run_reads_the_record_and_imports_no_torch() -> None:
    code = (
        "import sys; from xai_framework.cli.main import main; c = main(sys.argv[1:]); "
        "print('torch' in sys.modules); sys.exit(c)"
    )
    command = [sys.executable, "-c", code, *AUTO, "method=[gradient,gradcam]"]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first.splitlines()[0].startswith("comparing bfloat16 with float32 on 3 images of shapes_vgg: gradient, grad")
    assert first.splitlines()[1] == second.splitlines()[0]
    assert second.splitlines()[0].startswith("precision: bfloat16 for gradcam; float32 for gradient (Spearman 0.9")
    assert "nothing left to compute" in second
    assert second.splitlines()[-1] == "False"


def test_what_is_recorded_is_not_tried_again_and_damage_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made = decide(monkeypatch, lambda group, cell: 1.0)
    assert main([*AUTO, "method=[gradcam]"]) == 0
    assert main([*AUTO, "method=[gradcam,centre]"]) == 0
    assert made == [["gradcam"], ["centre"]]
    files = sorted(RECORDS.glob("*.json"))
    whole = [f.read_bytes() for f in files]
    files[0].write_bytes(whole[0][:50])
    other = json.loads(whole[1])
    other["decides"]["images"] = []  # of other images: no record of this question
    files[1].write_text(json.dumps(other))
    assert main([*AUTO, "method=[gradcam,centre]"]) == 0
    assert made[2:] == [["gradcam", "centre"]]
    assert [f.read_bytes() for f in files] == whole
    for text in ("[" * 100_000, json.dumps(json.loads(whole[0]) | {"precision": "float16"})):
        files[0].write_text(text)
        assert main([*AUTO, "method=[gradcam,centre]"]) == 0
        assert files[0].read_bytes() == whole[0]
    # other images are another question
    assert main([*RUN, "precision=auto", "dataset.images=2", "method=[gradcam]"]) == 0
    assert made[-1] == ["gradcam"]
    assert len(list(RECORDS.glob("*.json"))) == 3


def test_a_record_that_another_run_wrote_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    decide(monkeypatch, lambda group, cell: 0.5)
    assert main([*AUTO, "method=[centre]"]) == 0
    (file,) = RECORDS.glob("*.json")
    theirs = file.read_bytes()
    file.unlink()

    def slower(group: Any, cell: Any) -> float:
        file.write_bytes(theirs)
        return 1.0

    decide(monkeypatch, slower)
    assert main([*AUTO, "method=[centre]", "study=mine"]) == 0
    assert file.read_bytes() == theirs
    assert precision(cells("mine")[0]) == "float32"


def test_a_plan_says_what_is_undecided_and_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["plan", *AUTO[1:], "method=[gradcam,centre]"]
    assert main(plan) == 0
    said = capsys.readouterr().out
    assert "the precision of 2 cells (gradcam, centre) is decided when the study first runs; planned as float32" in said
    assert "2 cells, 6 of 6 maps to compute" in said
    assert list(folder.iterdir()) == []
    assert main([*plan, "--json"]) == 0
    undecided = json.loads(capsys.readouterr().out)["undecided"]
    assert [(d["method"], d["precision"]) for d in undecided] == [("gradcam", "float32"), ("centre", "float32")]
    made = decide(monkeypatch, lambda group, cell: 1.0 if cell.label == "gradcam" else 0.5)
    assert main([*AUTO, "method=[gradcam,centre]"]) == 0
    capsys.readouterr()
    assert main(plan) == 0
    said = capsys.readouterr().out
    assert "precision: bfloat16 for gradcam; float32 for centre (Spearman 0.500 on a)" in said
    assert "0 of 6 maps to compute" in said
    assert len(made) == 1


def test_labels_do_not_tell_of_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two datasets, two seeds and two classes, each decided otherwise: only what was asked for is in a label."""

    def rule(group: Any, cell: Any) -> float:
        one = group.job.dataset["objects"] == 1
        return 1.0 if one == (cell.target == "rank1") and group.job.settings.seed == 0 else 0.0

    decide(monkeypatch, rule)
    sweep = [
        "precision=auto",
        "-m",
        "dataset.images=1",
        "dataset.objects=1,2",
        "seed=0,1",
        "target=top_k",
        "target.k=2",
    ]
    assert main([*RUN, *sweep, "method=[random,centre]"]) == 0
    assert {c["label"] for c in cells()} == {"random[seed=0]", "random[seed=1]", "centre"}
    assert {precision(c) for c in cells()} == {"float32", "bfloat16"}
    assert main([*THREE, "-m", "precision=float32,auto,bfloat16", "method=[centre]", "study=three"]) == 0
    assert len({c["id"] for c in cells("three")}) == len(cells("three")) == 2


def test_datasets_of_the_same_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are one manifest: what is planned once is decided once."""
    for name in ("one", "two"):
        (folder / name).mkdir()
        Image.new("RGB", (20, 20), "red").save(folder / name / "a.png")
    made = decide(monkeypatch, lambda group, cell: 1.0)
    sweep = ["precision=auto", "-m", "dataset=folder", "dataset.path=one,two", "method=[centre]"]
    assert main([*RUN, *sweep]) == 0
    assert made == [["centre"]]
    assert [(c["label"], precision(c)) for c in cells()] == [("centre", "bfloat16")]


def test_a_cancellation_is_found_out(coarse: list[str]) -> None:
    assert main([*AUTO, *coarse]) == 0
    (cell,) = cells()
    assert precision(cell) == "float32"
    # by hand: the gradient of a mean of squares is what is left of each input
    backbone = Registry([Path("coarse.py")]).build("backbone", {"name": "coarse"})
    dataset = Registry().build("dataset", {"name": "shapes", "images": 3})
    expected = []
    for i in range(3):
        x = backbone.prepare(dataset[i].image).inputs  # type: ignore[attr-defined]
        left = (x.bfloat16() + 64.0) - 64.0
        expected.append(stats.spearmanr(x.ravel(), left.float().ravel()).statistic)
    assert cell["gate"]["lowest"] == pytest.approx(min(expected), abs=0.01)
    assert cell["gate"]["lowest"] < 0.99


def test_a_prediction_that_changes_is_found_out(coarse: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*AUTO, *coarse, "backbone.which=Close"]) == 0
    said = capsys.readouterr().out
    assert "precision: float32 for gradient (another prediction on shapes-" in said
    assert precision(cells()[0]) == "float32"
    # who insists on it is shown the class of the float32 network all the same
    assert main([*THREE, *coarse, "backbone.which=Close", "precision=bfloat16", "study=insisted"]) == 0
    maps = xai.open_run("outputs/runs/insisted")["gradient"]
    rows = [maps.row(i) for i in range(3)]
    assert [(r.target_name, r.prediction_name) for r in rows] == [("no", "yes")] * 3
    assert (np.asarray(maps) < 0).all()


def test_a_network_that_does_not_run_in_bfloat16(coarse: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*AUTO, *coarse, "backbone.which=Stubborn"]) == 0
    assert "float32 for gradient (the network does not run in bfloat16 (mat1 " in capsys.readouterr().out
    assert main([*THREE, *coarse, "backbone.which=Stubborn", "precision=bfloat16"]) == 1
    said = capsys.readouterr().err
    assert "does not run in bfloat16 (mat1 and mat2 must have the same dtype" in said
    assert "precision=float32" in said


def test_metrics_ask_the_float32_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    original = runner.explained_and_chooser

    def noting(adapter: Any, settings: Settings) -> Any:
        explained, chooser = original(adapter, settings)
        asked.append((settings.precision, str(next(explained.model.parameters()).dtype)))
        return explained, chooser

    monkeypatch.setattr(runner, "explained_and_chooser", noting)
    metric = ["metric=[deletion]", "metric.deletion.steps=4", "controls=[]", "method=[gradcam]"]
    assert main([*THREE, "precision=bfloat16", *metric]) == 0
    assert asked == [("bfloat16", "torch.bfloat16"), ("float32", "torch.float32")]
    decide(monkeypatch, lambda group, cell: 1.0)
    assert main([*AUTO, *metric, "study=auto"]) == 0
    assert len(asked) == 2, "both maps and numbers are those of the explicit precision"
    record = json.loads(Path("outputs/runs/auto/run.json").read_text("utf-8"))
    assert [precision(c) for c in (*record["cells"], *record["values"])] == ["bfloat16", "bfloat16"]


def test_an_interrupted_trial_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(group: Any, rows: Sequence[int], registry: Registry, stop: Stop) -> Trial:
        stop.ask("SIGTERM")
        stop.broken_off = True
        raise Interrupted("SIGTERM")

    whole = trials.trial
    monkeypatch.setattr(trials, "trial", interrupted)
    assert main([*AUTO, "method=[centre]"]) == 75
    assert not RECORDS.exists()

    def asked(group: Any, rows: Sequence[int], registry: Registry, stop: Stop) -> Trial:
        stop.ask("SIGTERM")
        return whole(group, rows, registry, stop)

    monkeypatch.setattr(trials, "trial", asked)
    assert main([*AUTO, "method=[centre]"]) == 75
    assert not RECORDS.exists()


def test_workers_and_merged_stores(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["method=[gradient,gradcam]"]
    assert main([*AUTO, *methods, "executor=processes", "executor.workers=2", "unit=2"]) == 0
    assert {c["label"]: precision(c) for c in cells()} == {"gradient": "float32", "gradcam": "bfloat16"}
    shutil.move("outputs", "theirs")
    assert main(["merge", "theirs", "--into", "outputs"]) == 0
    made = decide(monkeypatch, lambda group, cell: 0.0)
    capsys.readouterr()
    assert main([*AUTO, *methods]) == 0
    assert "nothing left to compute" in capsys.readouterr().out
    assert made == []
    assert main(["verify"]) == 0


def test_the_page_shows_precisions() -> None:
    assert main(["run", "precision=auto", "dataset.images=3", "method=[gradient,gradcam]"]) == 0
    assert main(["run", "dataset.images=3", "method=[centre]"]) == 0
    page = Path("outputs/runs/default/index.html").read_text("utf-8")
    lowest = {c["label"]: (c["gate"]["lowest"], c["gate"]["image"]) for c in cells() if "gate" in c}
    for label, kind in (("gradient", "float32"), ("gradcam", "bfloat16")):
        value, image = lowest[label]
        assert f"<bdi>{kind} (auto: lowest Spearman {value:.4g} at {image}, of 3 images)</bdi>" in page
    assert "<bdi>float32</bdi>" in page


@pytest.mark.parametrize("gate", [3, [], {}, {"lowest": "x", "reason": 7}, {"lowest": True, "image": {}}])
def test_the_page_takes_any_record(gate: object) -> None:
    from xai_framework.report.recipe import precision_of

    assert precision_of({"recipe": {"precision": "bfloat16"}, "gate": gate}).startswith("bfloat16")
    assert precision_of({}) == "float32"
