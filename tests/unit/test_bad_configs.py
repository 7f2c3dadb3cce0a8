"""Mistakes in a user's own config files and command line: named with file, line and column, and how to mend them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from PIL import Image

from xai_framework.cli.main import main
from xai_framework.core import environment
from xai_framework.registry import Registry
from xai_framework.report.gather import view_of
from xai_framework.store import open_run, read_run, write_run

GLOBAL = "# @package _global_\n"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in zip("abcde", "bcdef", strict=True)
)
MINE = "conf/experiment/mine.yaml"

FILES = {
    "syntax": (b"method: [gradient\nseed: 3\n", f"{MINE}:3:5: expected ',' or ']', but got ':': 'seed: 3'"),
    "second colon": (b"seed: 3: 4\n", f"{MINE}:2:8: mapping values are not allowed here: 'seed: 3: 4'"),
    "duplicate": (b"seed: 3\nseed: 4\n", f"{MINE}:3:1: 'seed' is given twice, first in line 2; remove one of them"),
    "duplicate below": (b"dataset:\n  images: 3\n  images: 4\n", f"{MINE}:4:3: 'images' is given twice"),
    "tab": (b"dataset:\n\timages: 3\n", f"{MINE}:3:1: found character '\\t'"),
    "tab's remedy": (b"dataset:\n\timages: 3\n", "indent with spaces"),
    "aliases": (BOMB.encode(), f"{MINE}:6:4: stands for more than 20000 values"),
    "endless alias": (b"a: &a [*a]\n", f"{MINE}:2:4: an alias holds itself"),
    "large": (b"#" * (1 << 20), f"{MINE}: has more than 1048576 bytes"),
    "deep": (b"a: " + b"[" * 5000 + b"]" * 5000, "is nested more than 40 deep"),
    "unset variable": (b"seed: ${oc.env:NOPE}\n", "seed: variable NOPE of the environment is not set; set it"),
    "cycle": (b"seed: ${threads}\nthreads: ${seed}\n", "seed: refers to itself: seed -> threads -> seed"),
    "wrong reference": (b"seed: ${sed}\n", "seed: refers to 'sed', which is not there; did you mean 'seed'"),
    "wrong resolver": (b"seed: ${oc.enf:HOME}\n", "seed: no resolver 'oc.enf'; did you mean 'oc.env'"),
    "python tag": (b"seed: !!python/object/apply:os.getpid []\n", f"{MINE}:2:7: tag tag:yaml.org,2002:python"),
    "path tag": (b"a: !!python/object/apply:pathlib.Path [/]\n", f"{MINE}:2:4: tag"),
    "binary": (b"study: !!binary aGVsbG8=\n", f"{MINE}:2:8: tag tag:yaml.org,2002:binary is not allowed"),
    "label 012": (b"method:\n  012: {name: gradient}\n", f"{MINE}:3:3: '012' as a key is read as a number; quote it"),
    "label off": (
        b"method:\n  off: {name: gradient}\n",
        f"{MINE}:3:3: 'off' as a key is read as false; quote it: 'off'",
    ),
    "label yes": (
        b"method:\n  yes: {name: gradient}\n",
        f"{MINE}:3:3: 'yes' as a key is read as true; quote it: 'yes'",
    ),
    "label null": (b"method:\n  null: {name: gradient}\n", f"{MINE}:3:3: 'null' as a key is read as nothing; quote it"),
    "class 012": (b"target: {index: 012}\n", f"{MINE}:2:17: '012' is read as another number"),
    "class 1:30": (b"target: {index: 1:30}\n", "quote it: '1:30'"),
    "class no": (b"target: {index: [circle, no]}\n", f"{MINE}:2:26: 'no' is read as false; quote it: 'no'"),
    "encoding": ("study: ä\n".encode("latin1"), f"{MINE}: is no UTF-8 text"),
    "nul": (b"study: a\x00b\n", f"{MINE}: unacceptable character"),
    "list": (b"- a\n", f"{MINE}:2:1: is no mapping"),
    "two documents": (b"seed: 1\n---\nseed: 2\n", f"{MINE}:4:1: holds a second document"),
    "no such method": (b"defaults:\n  - override /target: nope\n", "experiment=mine: no target 'nope'; xai list"),
    "circle of files": (b"defaults:\n  - /experiment: mine\n", "experiment=mine: is nested too deep, or its defaults"),
    "mode": (b"hydra: {mode: SIDEWAYS}\n", "Invalid value 'SIDEWAYS', expected one of [RUN, MULTIRUN]"),
    "sweep of nothing": (b"hydra: {mode: MULTIRUN, sweeper: {params: {sed: '1,2'}}}\n", "Could not override 'sed'"),
    "sweep of a group": (b"hydra: {mode: MULTIRUN, sweeper: {params: {target: a}}}\n", "target=a: no target 'a'"),
    "sweep's bracket": (b"hydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,[2'}}}\n", "is not closed"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOPE", raising=False)
    monkeypatch.setattr(environment, "_taken", {})
    return tmp_path


def said_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a mistake is explained with."""
    start = time.monotonic()
    assert main(["run", *argv]) == 1
    assert time.monotonic() - start < 10
    said = capsys.readouterr().err
    assert said.startswith("error[")
    assert len(said.strip().splitlines()) == 1
    assert not Path("outputs/runs").exists()
    return said


@pytest.mark.parametrize("mistake", FILES)
def test_a_mistake_in_a_file_is_named_with_its_place(
    mistake: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = FILES[mistake]
    file = folder / MINE
    file.parent.mkdir(parents=True)
    file.write_bytes(GLOBAL.encode() + text)
    assert expected in said_of(["experiment=mine", "method=[gradient]", "dataset.images=1"], capsys)


def test_what_looks_like_another_value_may_be_quoted(folder: Path) -> None:
    file = folder / MINE
    file.parent.mkdir(parents=True)
    text = "study: '012'\nreport: false\nseed: 0\nthreads: 1\ndataset: {images: 1}\nmethod:\n  'no': {name: gradient}\n"
    file.write_text(GLOBAL + text)
    assert main(["run", "experiment=mine"]) == 0
    assert Path("outputs/runs/012/run.json").is_file()


TYPED = {
    "study=${oc.env:NO_TOKEN}": "study: would store a secret: variable NO_TOKEN",
    "x=[1,2": "x=[1,2: '[' at character 3 is not closed",
    "method=[gradient,": "'[' at character 8 is not closed; a list is written without spaces",
    "study=a]": "']' at character 8 closes nothing",
    "study='abc": "at character 7 is not closed",
    "": "'': mismatched input '<EOF>' is not expected here; expected key=value",
    "+method@method.012=gradient": "a label behind '@', is made of letters",
    "seed=${seed}": "seed: refers to itself: seed -> seed",
    "seed=${oc.env:NOPE}": "seed: variable NOPE of the environment is not set",
    "precision=float16": "(available: float32, float64, bfloat16, auto)",
    "method.occlusion.window=0": "0 is out of range; allowed: 1..",
    "-m seed=range(0,1e9)": "1000000000 combinations, more than 10000",
    "-m seed=range(0,1e4) threads=1,2": "20000 combinations",
    "-m seed=glob(*)": "names no values; name them: a,b,c",
    "=3": "=3: no key before '='; expected key=value",
    "foo": "foo: missing EQUAL at '<EOF>'; expected key=value",
    "method==gradient": "extraneous input '=' is not expected here",
    "seed =3": "expected key=value, without spaces",
    "method=[null]": "method=[null]: no name is given",
    "dataset=null": "dataset=null: no name is given; (available: arrays",
    "backbone=[shapes_vgg,shapes_resnet]": "one run has one backbone; sweep: -m backbone=shapes_vgg,shapes_resnet",
    "experiment=[quickstart,gallery]": "one run has one experiment; sweep: -m experiment=quickstart,gallery",
    "-m seed=range(0,9,0)": "holds no value; name values",
    "-m seed=interval(0,1)": "names no values; name them: a,b,c",
    "-m dataset=shapes,folder dataset.images=2": "Could not override 'dataset.images'",
}


@pytest.mark.parametrize("typed", TYPED)
def test_a_mistake_that_is_typed_is_named(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of([typed] if " =" in typed else typed.split(" "), capsys)
    assert TYPED[typed] in said


def test_folders_and_links_among_the_configs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "conf/again").mkdir(parents=True)
    (folder / "conf/again/loop").symlink_to(folder / "conf")
    assert main(["run", "dataset.images=1", "method=[gradient]", "report=false"]) == 0
    (folder / "conf/x.yaml").symlink_to("nowhere.yaml")
    assert main(["run"]) == 1
    assert "conf/x.yaml: is a link to nowhere; remove it" in capsys.readouterr().err


def test_two_runs_of_one_name_add_up_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", "dataset.images=1", "report=false", "study=both"]
    assert main([*argv, "method=[gradient]"]) == 0
    assert main([*argv, "method=[smoothgrad]", "method.smoothgrad.samples=2"]) == 0
    assert "study 'both' also holds 1 cells of earlier commands (gradient)" in capsys.readouterr().out


VALUE = "hunter2-4711"


def _everything_written(folder: Path) -> bytes:
    files = [f for f in (folder / "outputs").rglob("*") if f.is_file()]
    assert any(f.name == "run.json" for f in files)
    assert any(f.suffix == ".h5" for f in files)
    return b"\0".join([str(f).encode() + b"\0" + f.read_bytes() for f in files])


def test_a_reference_is_stored_as_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs folder of a machine is nobody's business, and neither is what it is compared with."""
    monkeypatch.setenv("MY_PLACE", str(folder / VALUE))
    file = folder / MINE
    file.parent.mkdir(parents=True)
    text = "outputs: ${oc.env:MY_PLACE}\nstudy: demo\ndataset: {images: 1}\nseed: ${oc.decode:${oc.env:MY_SEED,'7'}}\n"
    file.write_text(GLOBAL + text)
    assert main(["run", "experiment=mine", "method=[gradient]"]) == 0
    (folder / VALUE).rename(folder / "outputs")
    written = _everything_written(folder)
    assert VALUE.encode() not in written
    assert b"${oc.env:MY_PLACE}" in written


def test_a_dataset_found_by_the_environment_is_recorded_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a picture fails and its reason is stored; another machine shows the photographs that it has."""
    pictures = folder / VALUE / "photos"
    pictures.mkdir(parents=True)
    Image.new("RGB", (96, 96), "red").save(pictures / "a.png")
    (pictures / "b.png").write_text("<html>")
    monkeypatch.setenv("MY_DATA", str(folder / VALUE))
    argv = ["run", "dataset=folder", "dataset.path=${oc.env:MY_DATA}/photos", "method=[gradient]", "study=demo"]
    for _ in range(2):  # also where the record is read and written again
        assert main(argv) == 3
        assert VALUE.encode() not in _everything_written(folder)
    run = Path("outputs/runs/demo")
    assert json.loads((run / "run.json").read_text())["cells"][0]["dataset"]["path"] == "${oc.env:MY_DATA}/photos"
    assert read_run(run)["cells"][0]["dataset"]["path"] == str(pictures)
    (folder / VALUE).rename(folder / "elsewhere")
    monkeypatch.setenv("MY_DATA", str(folder / "elsewhere"))
    rows = list(view_of(open_run(run), Registry([])).rows)
    assert rows[0].photograph is not None
    monkeypatch.delenv("MY_DATA")
    assert read_run(run)["cells"][0]["dataset"]["path"] == "${oc.env:MY_DATA}/photos"


def test_a_record_cannot_ask_for_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's record is read with this machine's environment."""
    monkeypatch.setenv("MY_SECRET", VALUE)
    run = folder / "outputs/runs/demo"
    fact = {"label": "a", "id": "b", "file": "c.h5", "dataset": {"name": "folder", "path": "${oc.env:MY_SECRET}"}}
    write_run(run, {"cells": [fact]})
    assert read_run(run)["cells"] == [fact]


def test_short_values_are_no_parts_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"A": "a", "B": "DATA", "C": "/x/DATA_1", "D": "oc.env"}.items():
        monkeypatch.setenv(name, value)
        environment.remember(name, value)
    texts = ["a", "abca", "my DATA", "/x/DATA_1/b", "oc.env", 3, None, ["a", {"b": "a"}]]
    assert environment.veiled(texts) == [
        *("${oc.env:A}", "abca", "my ${oc.env:B}", "${oc.env:C}/b", "${oc.env:D}", 3, None),
        ["${oc.env:A}", {"b": "${oc.env:A}"}],
    ]
    assert environment.unveiled(environment.veiled(texts)) == texts


SECRETS = {
    "study": "study: ${oc.env:MY_SECRET}\n",
    "in a text": "study: a-${oc.env:MY_SECRET}-b\n",
    "parameter": "method:\n  mine: {name: gradcam, layer: '${oc.env:MY_SECRET}'}\n",
    "path": "defaults:\n  - override /dataset: folder\ndataset: {path: '${oc.env:MY_SECRET}'}\n",
    "by a detour": "study: ${outputs}\noutputs: ${oc.decode:${oc.env:MY_SECRET}}\n",
    "by its name in parts": "study: ${oc.env:MY_${device}}\ndevice: SECRET\n",
    "with a default": "study: ${oc.env:MY_SECRET,none}\n",
}


@pytest.mark.parametrize("place", SECRETS)
def test_a_secret_is_refused_where_it_would_be_stored(
    place: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_SECRET", VALUE)
    file = folder / MINE
    file.parent.mkdir(parents=True)
    file.write_text(GLOBAL + SECRETS[place])
    said = said_of(["experiment=mine"], capsys)
    assert "would store a secret: variable MY_SECRET of the environment; a plugin that needs it" in said
    assert VALUE not in said
    assert not list(folder.rglob(f"*{VALUE}*"))


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *[(n, True) for n in ("SECRET", "MY_SECRET", "HF_TOKEN", "api_key", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD")],
        *[(n, True) for n in ("APIKEY", "PGPASSWD", "GITHUB_TOKENS", "OPENAI_API_KEY_2", "SSH_AUTH")],
        *[
            (n, False)
            for n in ("HOME", "DATA", "KEYBOARD", "SLURM_JOB_ID", "TOKENIZERS_PARALLELISM", "AUTHOR", "MONKEY")
        ],
    ],
)
def test_secrets_are_told_by_their_names(name: str, secret: bool) -> None:
    assert environment.looks_secret(name) is secret
