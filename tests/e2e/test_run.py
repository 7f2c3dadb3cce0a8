"""``xai run`` as a user types it: what works, what is refused and how it is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xai_framework as xai
from xai_framework.cli.main import main

SMALL = ["dataset.images=3", "report=false", "method.smoothgrad.samples=2"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(study: str = "default") -> list[dict[str, str]]:
    return json.loads(Path(f"outputs/runs/{study}/run.json").read_text("utf-8"))["cells"]


def labels(study: str = "default") -> set[tuple[str, str, str]]:
    return {(c["backbone"], c["target"], c["label"]) for c in record(study)}


def test_a_rerun_computes_nothing_and_does_not_import_torch() -> None:
    code = (
        "import sys; from xai_framework.cli.main import main; c = main(sys.argv[1:]); "
        "print('torch' in sys.modules); sys.exit(c)"
    )
    command = [sys.executable, "-c", code, "run", "dataset.images=3", "method=[gradient,gradcam]"]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert "computed in" in first
    assert first.splitlines()[-1] == "True"
    assert "nothing left to compute" in second
    assert second.splitlines()[-1] == "False"


def test_overrides_labels_and_nested_methods() -> None:
    assert main(["run", *SMALL, "method=[smoothgrad]", "+method@method.sg=smoothgrad", "method.sg.samples=3"]) == 0
    assert {label for _, _, label in labels()} == {"smoothgrad", "sg"}
    for i, spelled in enumerate(("method.smoothgrad.inner=gradcam", "method@method.smoothgrad.inner=gradcam")):
        assert main(["run", *SMALL, "method=[smoothgrad]", spelled, f"study=n{i}"]) == 0
    assert record("n0")[0]["id"] == record("n1")[0]["id"] != record()[0]["id"]


def test_a_multirun_is_one_plan_with_labels_that_tell_apart() -> None:
    argv = ["run", "-m", "dataset.images=2", "report=false", "method=[smoothgrad]", "method.smoothgrad.samples=2,3"]
    assert main([*argv, "backbone=shapes_vgg,shapes_resnet", "study=sweep"]) == 0
    assert labels("sweep") == {
        (b, "predicted", f"smoothgrad[samples={n}]") for b in ("shapes_vgg", "shapes_resnet") for n in (2, 3)
    }


def test_targets_expand() -> None:
    argv = ["run", "dataset.images=2", "report=false", "method=[gradient]"]
    assert main([*argv, "target=top_k", "target.k=2", "study=k"]) == 0
    assert {t for _, t, _ in labels("k")} == {"predicted", "rank1"}
    assert main([*argv, "target=index", "target.index=[circle,3]", "study=i"]) == 0
    assert {t for _, t, _ in labels("i")} == {"circle", "3"}


def test_a_study_of_ones_own_spans_backbones_and_targets(folder: Path) -> None:
    file = folder / "conf/experiment/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "# @package _global_\ndataset: {images: 2}\nreport: false\n"
        "method:\n  smoothgrad: {samples: 2}\n  vg: {name: smoothgrad, samples: 2, statistic: variance}\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
        "      backbone: shapes_vgg,shapes_resnet\n      target: predicted,second_best\n"
    )
    assert main(["run", "experiment=mine", "method=[smoothgrad]"]) == 0
    assert len(labels("mine")) == 2 * 2 * 2


def test_a_local_plugin_is_used_at_once_and_computed_anew_after_an_edit(folder: Path) -> None:
    source = (
        '"""My method, 2026."""\nfrom dataclasses import dataclass\nfrom xai_framework.core import Explainer\n\n\n'
        "@dataclass(frozen=True)\nclass MyMap(Explainer):\n    '''Constant.'''\n\n"
        "    def explain(self, probe, inputs, targets, rng):\n        return inputs * 0 + 1\n"
    )
    (folder / "mine.py").write_text(source)
    argv = ["run", "dataset.images=2", "report=false", "plugins=[./mine.py]", "method=[my_map]"]
    assert main(argv) == 0
    before = record()[0]
    assert main(argv) == 0
    assert record()[0]["id"] == before["id"]
    (folder / "mine.py").write_text(source.replace("+ 1", "+ 2"))
    assert main([*argv, "study=edited"]) == 0
    after = record("edited")[0]
    assert after["id"] != before["id"]
    assert np.asarray(xai.open_run("outputs/runs/edited")["my_map"]).max() == 2


def test_an_unreadable_picture_is_stored_and_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (folder / "photos").mkdir()
    Image.new("RGB", (100, 100), "red").save(folder / "photos/a.png")
    (folder / "photos/b.png").write_bytes((folder / "photos/a.png").read_bytes()[:60])
    (folder / "photos/c.jpg").write_text("<html>not found</html>")
    argv = ["run", "dataset=folder", "dataset.path=photos", "method=[gradient]"]
    assert main(argv) == 3
    said = capsys.readouterr().err
    assert "b.png" in said
    assert "HTML" in said
    maps = xai.open_run("outputs/runs/default")["gradient"]
    assert [maps.row(i).status.name for i in range(3)] == ["ok", "failed", "failed"]
    assert main(argv) == 3  # still so when nothing is left to compute
    assert "HTML" in Path("outputs/runs/default/index.html").read_text("utf-8")


BAD = {
    "method=smothgrad": "did you mean 'smoothgrad'",
    "backbone=resnet": "did you mean 'shapes_resnet'",
    "dataset=shape": "did you mean 'shapes'",
    "target=predict": "did you mean 'predicted'",
    "renderer=overly": "did you mean 'overlay'",
    "experiment=quickstat": "did you mean 'quickstart'",
    "method.smoothgrad.sgma=3": "no parameter 'sgma' in smoothgrad; did you mean 'sigma'",
    "+method.smoothgrad.sgma=3": "no parameter 'sgma' in smoothgrad; did you mean 'sigma'",
    "method.smothgrad.sigma=3": "did you mean 'smoothgrad'",
    "method.smoothgrad.samples=abc": "expected int, got 'abc'",
    "method.smoothgrad.samples=2.5": "expected int, got 2.5",
    "method.smoothgrad.samples=true": "expected int, got True",
    "method.smoothgrad.samples=null": "no value given, expected int",
    "method.smoothgrad.samples=0": "1..10000",
    "method.smoothgrad.samples=1000000000": "1..10000",
    "method.smoothgrad.sigma=nan": "finite",
    "method.smoothgrad.sigma=inf": "finite",
    "method.smoothgrad.sigma=-1": ">= 0",
    "method.smoothgrad.sigma='0.2'": "expected float",
    "method.smoothgrad.samples=": "samples",
    "method.smoothgrad.statistic=median": "did you mean 'mean'",
    "method.smoothgrad.inner=gradcm": "did you mean 'gradcam'",
    "method=gradient,gradcam": "use method=[gradient,gradcam]",
    "method=[]": "nothing to do",
    "method=[gradient,gradient]": "given twice",
    "method=[gradient] +method=[gradcam]": "given twice",
    "sed=3": "did you mean 'seed'",
    "seed=-1": "0..",
    "seed=1180591620717411303424": "seed",
    "seed=abc": "expected int",
    "precision=float16": "did you mean",
    "space=pixel": "did you mean 'pixels'",
    "study=../x": "folder",
    "x=[1,2": "x=[1,2",
    "backbone.wieghts=random": "did you mean 'weights'",
    "+a._target_=os.system": "_target_ is not allowed",
    "plugins=[./nowhere.py]": "nowhere.py",
    "target=index": "index",
    "dataset=folder": "path",
    "dataset.images=0": "1..",
    "renderer.colormap=infernoo": "inferno",
    "method.gradcam=3": "method.gradcam",
    "--config-dir=elsewhere": "put your own files into ./conf",
    "--experimental-rerun=job.pickle": "no flag",
    "--multirn": "did you mean '--multirun'",
}


@pytest.mark.parametrize("written", BAD)
def test_mistakes_are_explained(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [written] if "sigma='" in written else written.split(" ")
    assert main(["run", *arguments, "study=bad"] if "study" not in written else ["run", *arguments]) == 1
    said = capsys.readouterr().err
    assert BAD[written] in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1
    assert not Path("outputs/runs").exists()


LATER = {
    "target=index target.index=1000": "0..7",
    "target=index target.index=-1": "target=predicted",
    "target=index target.index=cirle": "did you mean 'circle'",
    "method.gradcam.layer=featurs": "did you mean 'features'",
    "method.gradcam.layer=classifier": "no grid",
    "method.occlusion.window=200": "larger than the input of 96x96",
    "method.occlusion.stride=40": "larger than window 32",
    "device=cuda:7": "available: cpu",
    "dataset=folder dataset.path=.": "holds no pictures",
    "dataset=folder dataset.path=outputz": "no such folder",
    "dataset=files dataset.paths=[a.png]": "no such file",
    "backbone=torchvision backbone.arch=resnet19": "did you mean 'resnet18'",
    "backbone=torchvision backbone.arch=resnet18 backbone.weights=V3": "IMAGENET1K_V1",
}


@pytest.mark.parametrize("written", LATER)
def test_mistakes_that_show_at_the_model_or_the_data(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *written.split(" "), "report=false", "study=bad"]) == 1
    said = capsys.readouterr().err
    assert LATER[written] in said
    assert len(said.strip().splitlines()) == 1


HOSTILE = {
    "callback": "hydra:\n  callbacks:\n    mine: {_target_: builtins.open, file: pwned, mode: w}\n",
    "launcher": "hydra:\n  launcher: {_target_: builtins.open, file: pwned, mode: w}\n",
    "plain": "method:\n  gradient: {_target_: builtins.open, file: pwned, mode: w}\n",
    "tag": "dataset:\n  images: !!python/object/apply:os.system ['touch pwned']\n",
    "folder": "hydra:\n  run: {dir: elsewhere}\n",
    "plugins": "plugins: [./mine.py]\n",
}


def test_a_hostile_group_file_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "conf/hydra/launcher/planned.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("_target_: builtins.open\nfile: pwned\nmode: w\n")
    assert main(["run", "-m", "seed=1,2", "dataset.images=1", "report=false"]) == 1
    assert "planned.yaml:1:1" in capsys.readouterr().err
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("sweep", [False, True])
def test_a_hostile_experiment_is_refused_and_runs_nothing(
    kind: str, sweep: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "conf/experiment/bad.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\n" + HOSTILE[kind])
    (folder / "mine.py").write_text("open('pwned', 'w')\n")
    chosen = ["-m", "experiment=quickstart,bad"] if sweep else ["experiment=bad"]
    assert main(["run", *chosen, "report=false", "dataset.images=1"]) == 1
    assert capsys.readouterr().err.startswith("error[")
    assert not (folder / "pwned").exists()
    assert not (folder / "outputs" / "runs").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [1,\n", "conf/experiment/bad.yaml:"), ("a: 1\na: 2\n", "a"), ("sed: 3\n", "did you mean 'seed'")],
)
def test_yaml_mistakes_name_the_place(text: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "conf/experiment/bad.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\n" + text)
    assert main(["run", "experiment=bad", "report=false"]) == 1
    assert said in capsys.readouterr().err


def test_yml_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "conf/experiment").mkdir(parents=True)
    (folder / "conf/experiment/mine.yml").write_text("a: 1\n")
    assert main(["run", "experiment=mine"]) == 1
    assert "rename it to .yaml" in capsys.readouterr().err


def test_secrets_of_the_environment_are_not_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    (folder / "conf/experiment").mkdir(parents=True)
    text = "# @package _global_\nstudy: ${oc.env:MY_STUDY}\nreport: false\ndataset: {images: 1}\n"
    (folder / "conf/experiment/env.yaml").write_text(text)
    monkeypatch.setenv("MY_STUDY", "named")
    assert main(["run", "experiment=env", "method=[gradient]"]) == 0
    stored = json.loads(Path("outputs/runs/named/run.json").read_text("utf-8"))["config_yaml"]
    assert "${oc.env:MY_STUDY}" in stored


def test_an_unset_variable_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "study=${oc.env:NOT_SET_ANYWHERE}"]) == 1
    assert "NOT_SET_ANYWHERE" in capsys.readouterr().err


def test_showing_the_configuration_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--cfg", "job", "method=[gradient]"]) == 0
    assert "shapes_vgg" in capsys.readouterr().out
    assert not Path("outputs").exists()


def test_explain_one_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xai_plugins.datasets.shapes import Shapes

    Shapes(images=1)[0].image.save(folder / "it's a=photo, [1].png")  # type: ignore[union-attr]
    assert main(["explain", "it's a=photo, [1].png", "--class", "circle", "method=[gradcam]"]) == 0
    out = capsys.readouterr().out
    page = Path(out.strip().splitlines()[-1].removeprefix("page: "))
    assert page.is_file()
    assert "circle" in page.read_text("utf-8")
    assert main(["explain", "photo.pgn"]) == 1
    assert main(["verify"]) == 0


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("xai r", ["run", "report", "repair"]),
        ("xai fig", ["figure"]),
        ("xai figure --layout le", ["leaderboard"]),
        ("xai compare --fi", ["--figure"]),
        ("xai table --format pa", ["parquet"]),
        ("xai show me", ["method", "metric"]),
        ("xai show method sm", ["smoothgrad", "smoothgrad_squared"]),
        ("xai list back", ["backbones"]),
        ("xai run backbone=shapes_v", ["backbone=shapes_vgg"]),
        ("xai run method=[smoothgrad] method.smoothgrad.sam", ["method.smoothgrad.samples="]),
        ("xai run experiment=qu", ["experiment=quickstart"]),
    ],
)
def test_completion(line: str, found: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["complete", "--", line]) == 0
    assert capsys.readouterr().out.split() == found


def test_completion_in_a_real_shell() -> None:
    script = (
        'eval "$(xai completion bash)"; COMP_LINE="xai run backbone=shapes_r"; COMP_POINT=${#COMP_LINE}; _xai; '
        'echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "backbone=shapes_resnet"


def test_an_old_study_says_what_it_already_holds(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", "dataset.images=1", "report=false", "method=[smoothgrad]"]
    assert main([*argv, "method.smoothgrad.samples=2"]) == 0
    assert main([*argv, "method.smoothgrad.samples=3"]) == 0
    assert "also holds 1 cells of earlier commands (other backbones" in capsys.readouterr().out


def test_help_and_lists_answer_without_torch() -> None:
    code = "import sys; from xai_framework.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules"
    for argv in (["--help"], ["list"], ["list", "methods", "--json"], ["run", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True)
        assert done.stdout


def test_verify_finds_and_repairs_damage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "dataset.images=3", "report=false", "method=[gradient]"]) == 0
    shard = next(Path("outputs/store").rglob("shards/*.h5"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert main(["verify"]) == 1
    assert main(["verify", "--repair"]) == 0
    capsys.readouterr()
    assert main(["run", "dataset.images=3", "report=false", "method=[gradient]"]) == 0
    assert "computed in" in capsys.readouterr().out
    assert main(["verify"]) == 0
