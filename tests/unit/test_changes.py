"""What changed between two runs: likeness against slow formulas, counts and pairs against runs made by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import AxesImage

from tests.unit.stored_runs import SHAPES, block_of, stored_run
from xai_framework.cli.main import main
from xai_framework.core import ConfigError, Status
from xai_framework.figures import changes_figure
from xai_framework.statistics import cell_changes, likeness, run_changes
from xai_framework.statistics.changes_table import lines, rows, to_json, to_markdown
from xai_framework.statistics.ranks import wilcoxon
from xai_framework.store import open_run

RNG = np.random.default_rng(0)
MAPS = RNG.standard_normal((6, 1, 5, 5))


def slow_spearman(a: np.ndarray, b: np.ndarray) -> float:
    """By counting: the rank of a value is how many are smaller, plus half of those that tie with it."""

    def ranks(values: np.ndarray) -> list[float]:
        flat = values.ravel().tolist()
        return [sum(w < v for w in flat) + (sum(w == v for w in flat) - 1) / 2 for v in flat]

    x, y = ranks(a), ranks(b)
    mx, my = sum(x) / len(x), sum(y) / len(y)
    top = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
    return top / math.sqrt(sum((p - mx) ** 2 for p in x) * sum((q - my) ** 2 for q in y))


# --- two maps


def test_likeness_against_slow_formulas() -> None:
    a, b = RNG.integers(-3, 4, (2, 1, 5, 6)).astype(float)
    found = likeness(a, b)
    assert found.spearman == pytest.approx(slow_spearman(a, b), abs=1e-12)
    dot = sum(float(p * q) for p, q in zip(a.ravel(), b.ravel(), strict=True))
    norms = math.sqrt(sum(float(p * p) for p in a.ravel()) * sum(float(q * q) for q in b.ravel()))
    assert found.cosine == pytest.approx(dot / norms, abs=1e-12)
    assert found.largest == max(abs(float(p - q)) for p, q in zip(a.ravel(), b.ravel(), strict=True)) / 3


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_likeness_of_the_same_map_at_another_scale(scale: float) -> None:
    found = likeness(MAPS[0], MAPS[0] * scale)
    assert (found.spearman, found.cosine) == pytest.approx((1.0, 1.0))
    turned = likeness(MAPS[0], -MAPS[0] * scale)
    assert (turned.spearman, turned.cosine) == pytest.approx((-1.0, -1.0))


def test_channels_are_summed_and_the_coarser_grid_is_enlarged() -> None:
    coarse = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    fine = np.stack([np.full((4, 4), 0.5)] * 3)
    assert likeness(coarse, fine).largest == pytest.approx((4 - 1.5) / 4)
    assert likeness(coarse, np.stack([coarse[0] / 2, coarse[0] / 2])).largest == 0


def test_likeness_is_undefined_and_not_a_number_where_there_are_no_ranks() -> None:
    found = likeness(np.ones((1, 3, 3)), MAPS[0])
    assert math.isnan(found.spearman)
    assert math.isfinite(found.cosine)
    zero = likeness(np.zeros((1, 3, 3)), np.zeros((1, 3, 3)))
    assert math.isnan(zero.spearman)
    assert math.isnan(zero.cosine)
    assert zero.largest == 0


# --- rows


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    values = {("gini", "m"): [1, 2, 3, np.nan, 5, 6]}
    first, second = (stored_run(tmp_path / s, {"m": block_of(MAPS)}, values) for s in "ab")
    found = run_changes(first, second)
    assert not found.differs
    (pair,) = found.pairs
    assert (pair.maps.both, pair.maps.identical, pair.maps.changed) == (6, 6, 0)
    assert pair.maps.spearman.median == 1
    assert pair.metrics[0].words == "the same at n = 5"
    assert "nothing differs" in list(lines(found))[-1]


def test_rows_are_counted_by_id_and_content(tmp_path: Path) -> None:
    changed = MAPS.copy()
    changed[1] *= -1
    changed[2, 0, 0, 0] += 1e-3
    first = stored_run(tmp_path / "a", {"m": block_of(MAPS, status={5: Status.failed})})
    ids = [f"shapes-2x96-s0-{i:06d}" for i in (3, 1, 2, 0, 7, 5)]  # another order, 4 is missing, 7 is new
    block = block_of(changed[[3, 1, 2, 0, 4, 5]], ids)
    contents = tuple("f" * 64 if i == 3 else c for i, c in enumerate(block.contents))  # row 3, image 0: another picture
    second = stored_run(tmp_path / "b", {"m": block_of(changed[[3, 1, 2, 0, 4, 5]], ids, contents=contents)})
    maps = run_changes(first, second).pairs[0].maps
    assert (maps.both, maps.only_first, maps.only_second, maps.other_picture) == (4, 1, 1, 1)
    assert (maps.identical, maps.changed, maps.compared) == (1, 3, 2)
    assert maps.status == {"failed -> ok": 1}
    assert maps.spearman.n == 3
    assert [r.id[-1] for r in maps.most_changed] == ["1", "2"]
    assert maps.most_changed[0].places == (1, 1)
    assert maps.most_changed[0].likeness.spearman == pytest.approx(-1)
    assert maps.spearman.low == pytest.approx(-1)
    assert maps.largest.high == pytest.approx(2)


def test_changed_predictions_and_classes_are_counted(tmp_path: Path) -> None:
    block = block_of(MAPS)
    names = ("cat", *block.prediction_name[1:])
    first = stored_run(tmp_path / "a", {"m": block})
    second = stored_run(tmp_path / "b", {"m": block_of(MAPS, prediction_name=names, target=np.arange(6) + 1)})
    found = run_changes(first, second)
    assert (found.pairs[0].maps.predictions, found.pairs[0].maps.explained) == (1, 6)
    assert found.pairs[0].maps.identical == 6
    assert found.differs


def test_only_the_most_changed_rows_are_kept(tmp_path: Path) -> None:
    noise = np.array([0.0, 0.3, 3.0, 0.1, 1.0, 0.03])[:, None, None, None]
    other = MAPS + noise * RNG.standard_normal(MAPS.shape)
    first, second = (stored_run(tmp_path / s, {"m": block_of(m)}) for s, m in (("a", MAPS), ("b", other)))
    listed = run_changes(first, second, most=2).pairs[0].maps.most_changed
    rho = [slow_spearman(a, b) for a, b in zip(MAPS.astype(np.float32), other.astype(np.float32), strict=True)]
    assert [int(r.id[-1]) for r in listed] == np.argsort(rho)[:2].tolist()


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    ids = [f"image {i}" for i in range(400)]
    maps = RNG.standard_normal((400, 1, 64, 64)).astype(np.float32)
    cells = [(s, block_of(maps + k, ids)) for k, s in enumerate("ab")]
    first, second = (stored_run(tmp_path / s, {"m": b}).cells[0] for s, b in cells)
    tracemalloc.start()
    found = cell_changes(first, second, most=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.pairs[0].maps.compared == 400
    assert peak < maps.nbytes / 3


# --- which cells belong together


def test_single_backbones_are_paired_by_position(tmp_path: Path) -> None:
    first = stored_run(tmp_path / "a", {"m": block_of(MAPS), "x": block_of(MAPS)}, backbone="before")
    second = stored_run(tmp_path / "b", {"m": block_of(MAPS), "y": block_of(MAPS)}, backbone="after")
    found = run_changes(first, second)
    assert [p.name for p in found.pairs] == ["m (before, predicted) -> m (after, predicted)"]
    assert found.notes == ("backbone before of A is compared with after of B",)
    assert [(side, name) for side, name, _ in found.left] == [
        ("A", "x (before, predicted)"),
        ("B", "y (after, predicted)"),
    ]
    assert "the other run has no method 'x'" in found.left[0][2]


def test_several_backbones_are_paired_by_name_or_as_asked(tmp_path: Path) -> None:
    for folder, name in ("ap", "aq", "bq", "br"):
        stored_run(tmp_path / folder, {"m": block_of(MAPS)}, backbone=name)
    first, second = (open_run(tmp_path / folder / "runs" / "demo") for folder in "ab")
    found = run_changes(first, second)
    assert [p.name for p in found.pairs] == ["m (q, predicted)"]
    assert [why for _, _, why in found.left] == [
        "no backbone of the other run is paired with 'p'",
        "no backbone of the other run is paired with 'r'",
    ]
    asked = run_changes(first, second, backbones={"p": "r"})
    assert [p.name for p in asked.pairs] == ["m (p, predicted) -> m (r, predicted)"]
    assert asked.left == ()
    with pytest.raises(ConfigError, match="B has no backbone 'p'"):
        run_changes(first, second, backbones={"p": "p"})


def test_datasets_of_other_size_belong_together_where_there_is_no_choice(tmp_path: Path) -> None:
    first = stored_run(tmp_path / "a", {"m": block_of(MAPS)})
    more = {**SHAPES, "images": 5}
    second = stored_run(tmp_path / "b", {"m": block_of(MAPS[:5])}, dataset=more)
    found = run_changes(first, second)
    assert found.pairs[0].notes == ("dataset: images: 6 -> 5",)
    assert (found.pairs[0].maps.both, found.pairs[0].maps.only_first) == (5, 1)


def test_parameters_that_differ_are_told(tmp_path: Path) -> None:
    methods = [{"m": {"name": "gradcam", "relu": relu}} for relu in (True, False)]
    first, second = (
        stored_run(tmp_path / s, {"m": block_of(MAPS)}, methods=m) for s, m in zip("ab", methods, strict=True)
    )
    assert run_changes(first, second).pairs[0].notes == ("method: relu: true -> false",)


# --- metrics


def test_metrics_are_paired_image_by_image(tmp_path: Path) -> None:
    ids = [f"image {i}" for i in range(30)]
    maps = RNG.standard_normal((30, 1, 2, 2))
    a, b = RNG.normal(0, 1, 30), {}
    a[3] = np.nan
    b["m"] = a + 1 + 0.1 * RNG.standard_normal(30)
    b["x"] = a + RNG.normal(0, 1, 30)
    b["m"][4] = np.nan
    cells = {"m": block_of(maps, ids), "x": block_of(maps, ids)}
    first = stored_run(tmp_path / "a", cells, {("drop", k): a for k in cells}, better="lower")
    second = stored_run(tmp_path / "b", cells, {("drop", k): b[k] for k in cells}, better="lower")
    changes = {p.name[0]: p.metrics[0] for p in run_changes(first, second).pairs}
    known = np.isfinite(a) & np.isfinite(b["m"])
    m = changes["m"]
    assert m.n == 28
    assert m.first == pytest.approx(a[known].mean(), abs=1e-6)
    assert m.difference.value == pytest.approx((b["m"] - a)[known].mean(), abs=1e-6)
    spread = (b["m"] - a)[known].std() / math.sqrt(28)
    assert m.difference.low == pytest.approx(m.difference.value - 1.96 * spread, abs=spread)
    assert m.difference.high == pytest.approx(m.difference.value + 1.96 * spread, abs=spread)
    one, two = (v.astype(np.float32).astype(float) for v in (a, b["x"]))
    alone = wilcoxon(two[np.isfinite(one)], one[np.isfinite(one)])
    assert changes["x"].p == pytest.approx(alone)  # the larger of two stays as it is
    assert m.p < 1e-4
    assert m.words == "B is worse at n = 28"  # lower is better
    assert changes["x"].words == "not distinguishable at n = 29"


def test_differences_of_zero_and_one_have_an_interval_of_differences(tmp_path: Path) -> None:
    values = [[0, 0, 0, 1, 1, 0], [1, 0, 0, 1, 1, 0]]
    first, second = (
        stored_run(tmp_path / s, {"m": block_of(MAPS)}, {("hit", "m"): v}) for s, v in zip("ab", values, strict=True)
    )
    change = run_changes(first, second).pairs[0].metrics[0]
    assert change.difference.value == pytest.approx(1 / 6)
    assert change.difference.low < 0 < change.difference.high  # where Wilson's interval of a share would begin above 0


# --- what is printed


def runs(tmp_path: Path) -> tuple[Path, Path]:
    other = MAPS.copy()
    other[2] = RNG.standard_normal((1, 5, 5))
    cells = [{"m|1": block_of(MAPS)}, {"m|1": block_of(other)}]
    values = [{("gini", "m|1"): v} for v in ([1, 2, 3, 4, 5, np.nan], [2, 3, 4, 5, 6, np.nan])]
    folders = [tmp_path / "a", tmp_path / "b"]
    made = [stored_run(f, c, v) for f, c, v in zip(folders, cells, values, strict=True)]
    return made[0].folder, made[1].folder


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = runs(tmp_path)
    assert main(["compare", str(a), str(a)]) == 0
    assert main(["compare", str(a), str(b)]) == 3
    assert main(["compare", str(a), str(tmp_path / "c")]) == 1
    assert "no run is stored here" in capsys.readouterr().err


def test_csv_is_a_long_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = runs(tmp_path)
    main(["compare", str(a), str(b), "--format", "csv"])
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    table = {row["what"]: row for row in found}
    assert {row["method_a"] for row in found} == {"m|1"}
    assert (table["changed"]["value"], table["identical"]["value"]) == ("1", "5")
    assert float(table["gini_difference"]["value"]) == 1
    assert "nan" not in str(found)


def test_json_is_strict_and_tells_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = runs(tmp_path)
    main(["compare", str(a), str(b), "--json"])
    found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert found["differs"] is True
    assert found["pairs"][0]["maps"]["most_changed"][0]["id"] == "shapes-2x96-s0-000002"


def test_undefined_numbers_are_never_printed_as_nan(tmp_path: Path) -> None:
    first, second = (
        stored_run(tmp_path / s, {"m": block_of(np.full((6, 1, 2, 2), v))}) for s, v in (("a", 1), ("b", 2))
    )
    found = run_changes(first, second)
    assert math.isnan(found.pairs[0].maps.spearman.median)
    assert "nan" not in "\n".join([*lines(found), to_markdown(found), json.dumps(to_json(found))]).lower()
    assert any(math.isnan(row["value"]) for row in rows(found))


def test_markdown_escapes_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = runs(tmp_path)
    main(["compare", str(a), str(b), "--format", "markdown"])
    out = capsys.readouterr().out
    assert "| m\\|1 (vgg, predicted) | 6 | 5 | 1 |" in out
    assert "| gini | m\\|1 (vgg, predicted) | 3 | 4 | 1 [1, 1] |" in out


def test_two_methods_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {("gini", "m"): range(6), ("gini", "n"): range(6), ("drop", "n"): range(6)}
    run = stored_run(tmp_path, {"m": block_of(MAPS), "n": block_of(-MAPS)}, values)
    assert main(["compare", f"{run.folder}::m", f"{run.folder}::n"]) == 3
    out = capsys.readouterr().out
    assert "m (vgg, predicted) -> n (vgg, predicted): differs" in out
    assert "Spearman -1 (-1 to -1)" in out
    assert "gini (higher is better): the same at n = 6" in out
    assert "only in B: drop of n (vgg, predicted): the other cell was not measured by it" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{a}::k", "{a}::m|1"], "no method 'k'; did you mean|no method 'k'; .*available: m"),
        (["{a}::m|1", "{b}"], "a single method is compared with a single method; write .*::METHOD too"),
        (["{a}", "{b}", "--backbone", "vgg"], "'vgg' names no pair; write --backbone A=B"),
        (["{a}", "{b}", "--backbone", "vgg=vvg"], "B has no backbone 'vvg'; did you mean 'vgg'"),
        (["{a}", "{b}", "--most", "-1"], "give 0 or more"),
        (["{a}", "{b}", "--figure", "a.svg"], "no figure is written as '.svg'"),
    ],
)
def test_mistakes_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    a, b = runs(tmp_path)
    assert main(["compare", *(w.format(a=a, b=b) for w in words)]) == 1
    assert re.search(said, capsys.readouterr().err)


# --- the picture


def test_the_picture_shows_both_maps_and_where_they_differ(tmp_path: Path) -> None:
    maps = np.zeros((2, 6, 1, 1, 2))
    maps[0, :, 0, 0] = 0.0, 10.0
    maps[1, :, 0, 0] = 3.0, 1.5
    first, second = (stored_run(tmp_path / s, {"m": block_of(m)}) for s, m in zip("ab", maps, strict=True))
    made = changes_figure(run_changes(first, second), rows=1, names=("before", "after"), percentile=100, opacity=1.0)
    texts = [t.get_text() for t in made.figure.texts]
    assert {"A", "B", "before", "after", "ρ = −1"} <= set(texts)
    assert "−0.5 … 1" in texts  # 1 - 0 and 0.5 - 1, each divided by its largest magnitude
    assert len(made.figure.findobj(AxesImage)) == 4 + 2


def test_without_changed_maps_there_is_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, _ = runs(tmp_path)
    assert main(["compare", str(a), str(a), "--figure", str(tmp_path / "c.png")]) == 0
    assert "no map changed: no figure is drawn" in capsys.readouterr().err
    assert not (tmp_path / "c.png").exists()
