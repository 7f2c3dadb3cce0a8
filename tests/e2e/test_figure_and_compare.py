"""``xai figure`` and ``xai compare`` as a user types them, on real runs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from xai_framework.cli.figure import LAYOUTS as NAMED
from xai_framework.cli.figure import SCALES
from xai_framework.cli.main import main
from xai_framework.figures import LAYOUTS
from xai_framework.figures.look import MAP_SCALES


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and an untrained backbone on six pictures, twice: with and without smoothing."""
    folder = tmp_path_factory.mktemp("outputs")
    common = [
        "report=false",
        f"outputs={folder}",
        "dataset.images=6",
        "dataset.objects=2",
        "metric=[pointing_game,gini]",
        "controls=[]",
    ]
    strip = ["method.smoothgrad.samples=3", "method.smoothgrad.snapshots=[1,2,3]"]
    assert main(["run", *common, "method=[gradient,gradcam,smoothgrad]", *strip, "study=before"]) == 0
    assert main(["run", *common, "method=[gradient,gradcam]", "untrained=true", "study=after"]) == 0
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_written_as_pdf_and_png(
    outputs: Path, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / layout
    assert main(["figure", str(outputs / "runs/before"), "--layout", layout, "--output", str(target)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.split()]
    assert [p.name for p in written] == [f"{layout}.pdf", f"{layout}.png"]
    assert written[0].read_bytes().startswith(b"%PDF")
    with Image.open(written[1]) as picture:
        assert picture.width == int((84 if layout == "critical-difference" else 174) / 25.4 * 300)


def test_the_command_line_knows_what_the_library_knows() -> None:
    assert NAMED == LAYOUTS
    assert SCALES == MAP_SCALES


def test_a_figure_is_kept_beside_the_run(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["figure", str(outputs / "runs/before"), "--images", "1", "--methods", "gradcam", "--width", "column"]
    assert main([*argv, "--scale", "all", "--no-labels", "--no-grey", "--truth", "--dpi", "100"]) == 0
    path = outputs / "runs/before/figures/methods-by-images.png"
    assert str(path) in capsys.readouterr().out
    with Image.open(path) as picture:
        assert picture.width == int(84 / 25.4 * 100)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layout", "leaderbord"], "did you mean 'leaderboard'"),
        (["--width", "colum"], "did you mean 'column'"),
        (["--output", "a.tiff"], "available: pdf, png"),
        (["--images", "id:7"], "no image '7' in this run"),
        (["--images", ""], "an id is empty"),
    ],
)
def test_mistakes_leave_no_traceback(
    outputs: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figure", str(outputs / "runs/before"), *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error[config]")
    assert said in error


def test_compare_before_and_after(outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = str(outputs / "runs/before"), str(outputs / "runs/after")
    assert main(["compare", before, before]) == 0
    capsys.readouterr()
    assert main(["compare", before, after, "--figure", str(tmp_path / "changed.png")]) == 3
    shown = capsys.readouterr()
    assert "backbone shapes_vgg of A is compared with shapes_vgg-untrained of B" in shown.out
    assert "only in A: smoothgrad" in shown.out
    assert (tmp_path / "changed.png").stat().st_size > 10_000
    assert main(["compare", before, after, "--json"]) == 3
    pairs = json.loads(capsys.readouterr().out)["pairs"]
    assert {p["a"]["label"] for p in pairs} == {"gradient", "gradcam"}
    # a network that learnt nothing sees other things
    assert all(abs(p["maps"]["spearman"]["median"]) < 0.5 for p in pairs)
    assert main(["compare", f"{before}::gradient", f"{before}::gradcam", "--format", "csv"]) == 3
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {"rows_in_both", "spearman_median", "gini_difference"} <= {row["what"] for row in table}


def test_single_result_files(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (
        sorted((outputs / "store").glob(f"shapes_vgg/{m}-*/maps-*.h5"))[0] for m in ("gradcam", "gradient")
    )
    assert main(["compare", str(first), str(first)]) == 0
    assert main(["compare", str(first), str(second)]) == 3
    assert "rows: 6 in both, 0 identical, 6 changed" in capsys.readouterr().out
    assert main(["figure", str(first), "--images", "1"]) == 0
    assert (tmp_path / "figures" / "methods-by-images.pdf").is_file()
    assert not (first.parent / "figures").exists()


def test_tables_are_written_to_files(outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(outputs / "runs/before")
    assert main(["table", run, "--format", "csv", "--output", str(tmp_path / "a.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text("utf-8").splitlines()))
    assert {(r["metric"], r["method"]) for r in rows} >= {("gini", "gradcam"), ("pointing_game", "gradient")}
    assert main(["table", run, "--output", str(tmp_path / "a.txt")]) == 1
    assert main(["table", run, "--format", "parquet"]) == 1
    assert "parquet is no text; add --output FILE.parquet" in capsys.readouterr().err


def test_parquet_is_the_same_long_table(outputs: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run = str(outputs / "runs/before")
    assert main(["table", run, "--format", "parquet", "--output", str(tmp_path / "a.parquet")]) == 0
    assert main(["table", run, "--format", "csv", "--output", str(tmp_path / "a.csv")]) == 0
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    lines = list(csv.DictReader((tmp_path / "a.csv").read_text("utf-8").splitlines()))
    assert [r["method"] for r in rows] == [line["method"] for line in lines]
    assert [r["mean"] for r in rows] == pytest.approx([float(line["mean"]) for line in lines])


def test_a_missing_pyarrow_is_named(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    argv = ["table", str(outputs / "runs/before"), "--format", "parquet", "--output", str(tmp_path / "a.parquet")]
    assert main(argv) == 1
    assert 'pyarrow is not installed; pip install "xai-framework[parquet]"' in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["figure", "--help"], ["compare", "--help"]])
def test_help_imports_neither_torch_nor_matplotlib(words: list[str]) -> None:
    code = (
        "import sys\nfrom xai_framework.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'matplotlib', 'h5py', 'scipy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert "figure" in done.stdout


def test_figures_and_comparisons_do_not_import_torch(outputs: Path, tmp_path: Path) -> None:
    run = str(outputs / "runs/before")
    for words in (["figure", run, "--output", str(tmp_path / "f.png")], ["compare", run, run]):
        code = "import sys\nfrom xai_framework.cli.main import main\nmain(sys.argv[1:])\nprint('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False"


def test_a_figure_of_photographs(real_data: Path, tmp_path: Path) -> None:
    weights = f"backbone.file={real_data}/weights/squeezenet1_1_imagenet_fp16.pt"
    place = ["dataset=folder", f"dataset.path={real_data}/images/misc", "dataset.limit=2"]
    argv = ["run", "backbone=torchvision", "backbone.arch=squeezenet1_1", weights, *place, "method=[gradient,gradcam]"]
    assert main([*argv, f"outputs={tmp_path}", "report=false", "study=photographs"]) == 0
    run = tmp_path / "runs/photographs"
    assert main(["figure", str(run), "--output", str(tmp_path / "a.pdf")]) == 0
    assert b"/Width 224" in (tmp_path / "a.pdf").read_bytes()
