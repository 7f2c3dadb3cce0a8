"""Figures read back from matplotlib's own objects and from the PDF's bytes, against values computed by hand."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from typing import Any

import cmap
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from xai_plugins.datasets.shapes import Shapes

from tests.unit.stored_runs import SHAPES, block_of, stored_run
from xai_framework.core import ConfigError, Status, StoreError
from xai_framework.figures import LAYOUTS, PaperFigure, figure
from xai_framework.figures.paper import FAINT, text_width, wrapped
from xai_framework.statistics import cliques, critical_difference, leaderboard
from xai_framework.store import Run

HOSTILE = "$x_1$ ^\\frac{a}{b} %s <b>&\"' \x00"


def maps(seed: int, *, signed: bool = False, grid: tuple[int, int, int] = (1, 6, 6)) -> np.ndarray:
    drawn = np.random.default_rng(seed).random((6, *grid))
    return (drawn - 0.5) if signed else drawn


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    rng = np.random.default_rng(0)
    cells = {
        "gradcam": block_of(maps(1)),
        "integrated_gradients": block_of(maps(2, signed=True, grid=(3, 96, 96))),
        "strip": block_of(maps(3, grid=(3, 24, 24))),
    }
    values = {(metric, label): rng.normal(i, 1, 6) for metric in ("gini", "deletion") for i, label in enumerate(cells)}
    methods = {"strip": {"name": "smoothgrad", "samples": 5, "snapshots": [1, 2, 5]}}
    return stored_run(tmp_path_factory.mktemp("outputs"), cells, values, methods=methods)


def texts(made: PaperFigure) -> list[str]:
    return [t.get_text() for t in made.figure.findobj(Text) if t.get_text() and t.get_visible()]


def images(made: PaperFigure) -> list[np.ndarray]:
    """In the order they were drawn: row by row, then colour bars."""
    return [np.asarray(i.get_array()) for i in made.figure.findobj(AxesImage)]


def rgb(name: str, at: float) -> np.ndarray:
    return np.rint(np.array(cmap.Colormap(name)(at).rgba[:3]) * 255)


# --- on paper


@pytest.mark.parametrize("width", [84.0, 174.0])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_is_legible_and_stays_on_the_paper(run: Run, layout: str, width: float) -> None:
    made = figure(run, layout, width=width)
    canvas = FigureCanvasAgg(made.figure)
    canvas.draw()
    paper = made.figure.bbox
    for text in made.figure.findobj(Text):
        if text.get_text() and text.get_visible():
            assert text.get_fontsize() >= 6
            box = text.get_window_extent(canvas.get_renderer())
            assert box.x0 >= paper.x0 - 1, text.get_text()
            assert box.x1 <= paper.x1 + 1, text.get_text()
            assert box.y0 >= paper.y0 - 1, text.get_text()
            assert box.y1 <= paper.y1 + 1, text.get_text()


def test_titles_of_columns_do_not_touch(tmp_path: Path) -> None:
    labels = [f"integrated_gradients_{i}" for i in range(8)]
    made = figure(stored_run(tmp_path, {label: block_of(maps(1)) for label in labels}), width=84, images=1)
    renderer = FigureCanvasAgg(made.figure).get_renderer()
    found = [t for t in made.figure.findobj(Text) if t.get_text().startswith("integrated")]
    boxes = [t.get_window_extent(renderer) for t in found]
    assert len(boxes) == 8
    ordered = sorted(boxes, key=lambda b: b.x0)
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(ordered))


def test_pdf_has_its_width_true_type_text_and_pictures_at_their_resolution(run: Run) -> None:
    data = figure(run, width=84, methods=["gradcam"], images=2).rendered("pdf")
    width, height = (float(v) for v in re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", data).groups())  # type: ignore[union-attr]
    assert width == pytest.approx(84 / 25.4 * 72, abs=0.1)
    assert height < width * 1.5
    assert b"/FontFile2" in data
    assert b"/Type3" not in data
    pictures = re.findall(rb"/Subtype /Image.*?/Width (\d+)", data, re.DOTALL)
    assert pictures.count(b"96") >= 4  # two photographs, two maps


def test_the_same_figure_has_the_same_bytes_whatever_a_user_has_set(run: Run) -> None:
    import matplotlib

    first = {kind: figure(run, images=1).rendered(kind) for kind in ("pdf", "png")}
    with matplotlib.rc_context({"font.size": 30, "image.cmap": "jet", "savefig.bbox": "tight", "axes.grid": True}):
        for kind, data in first.items():
            assert figure(run, images=1).rendered(kind) == data
        assert matplotlib.rcParams["font.size"] == 30


def test_png_has_the_asked_for_resolution(run: Run) -> None:
    from io import BytesIO

    from PIL import Image

    with Image.open(BytesIO(figure(run, width=100, dpi=200, images=1)._repr_png_())) as picture:
        assert picture.width == round(100 / 25.4 * 200)


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    made = figure(stored_run(tmp_path, {HOSTILE: block_of(maps(1))}), images=1)
    made.rendered("png")
    assert any(t.startswith("$x_1$ ^\\frac") for t in texts(made))
    assert made.rendered("pdf").startswith(b"%PDF")


def test_characters_without_a_shape_are_told(tmp_path: Path) -> None:
    made = figure(stored_run(tmp_path, {"方法": block_of(maps(1))}), images=1)
    made.rendered("png")
    assert any("no shape for 2 characters" in note and "方" in note for note in made.notes)


def test_long_text_is_broken_then_cut() -> None:
    assert wrapped("integrated_gradients", 100, 7) == ["integrated_gradients"]
    narrow = text_width("integrated_", 7) + 0.1
    assert wrapped("integrated_gradients", narrow, 7) == ["integrated_", "gradients"]
    (cut,) = wrapped("integrated_gradients", narrow, 7, lines=1)
    assert cut.startswith("integr")
    assert cut.endswith("…")
    assert text_width(cut, 7) <= narrow


# --- maps


def test_photographs_and_maps_are_those_of_the_study(tmp_path: Path) -> None:
    flat = np.zeros((6, 1, 2, 2))
    flat[:, 0, 0, 0], flat[:, 0, 1, 1] = 1.0, 4.0
    made = figure(stored_run(tmp_path, {"m": block_of(flat)}), images=2, opacity=1.0, percentile=100)
    drawn = images(made)
    for row in range(2):
        photograph = np.asarray(Shapes(images=6, objects=2)[row].image)
        np.testing.assert_array_equal(drawn[2 * row], photograph)
        heat = drawn[2 * row + 1]
        assert heat.shape == (96, 96, 3)
        for at, value in (((0, 0), 1.0), ((95, 95), 4.0), ((0, 95), 0.0)):
            np.testing.assert_allclose(heat[at], rgb("inferno", value / 4), atol=1)


def test_the_photograph_shows_through_in_grey(tmp_path: Path) -> None:
    run = stored_run(tmp_path, {"m": block_of(np.ones((6, 1, 1, 1)))})
    photograph = np.asarray(Shapes(images=6, objects=2)[0].image).astype(float)
    top = rgb("inferno", 1.0)
    grey = photograph @ np.array([0.299, 0.587, 0.114])
    under = images(figure(run, images=1, opacity=0.25))[1]
    np.testing.assert_allclose(under, 0.75 * grey[..., None] + 0.25 * top, atol=2)
    coloured = images(figure(run, images=1, opacity=0.25, grey=False))[1]
    np.testing.assert_allclose(coloured, 0.75 * photograph + 0.25 * top, atol=2)


@pytest.mark.parametrize("layout", ["methods-by-images", "images-by-methods"])
@pytest.mark.parametrize("scale", ["own", "method", "row", "all"])
def test_maps_share_the_scale_that_was_asked_for(tmp_path: Path, scale: str, layout: str) -> None:
    tops = np.array([[1.0, 20.0], [300.0, 4000.0]])  # images by methods
    cells = {f"m{k}": block_of(np.tile(tops[:, k], 3)[:, None, None, None] * np.ones((1, 1, 2, 2))) for k in range(2)}
    made = figure(stored_run(tmp_path, cells), layout, images=2, scale=scale, percentile=100, opacity=1.0)
    order = [1, 2, 4, 5] if layout == "methods-by-images" else [2, 4, 3, 5]  # (image 0, m0), (0, m1), (1, m0), (1, m1)
    shared = {"own": tops, "method": tops.max(0)[None], "row": tops.max(1)[:, None], "all": tops.max()}[scale]
    expected = (tops / shared).ravel()
    for at, share in zip(order, expected, strict=True):
        np.testing.assert_allclose(images(made)[at][0, 0], rgb("inferno", share), atol=2)
    ends = {"own": {"max"}, "method": {"300", "4e+03"}, "row": {"20", "4e+03"}, "all": {"4e+03"}}[scale]
    assert ends <= set(texts(made))


def test_a_percentile_lets_the_largest_saturate_and_says_so(tmp_path: Path) -> None:
    values = np.arange(100.0).reshape(1, 1, 10, 10).repeat(6, 0)
    made = figure(stored_run(tmp_path, {"m": block_of(values)}), images=1, scale="all", percentile=90, opacity=1.0)
    assert "≥ 89.1" in texts(made)  # numpy's linear percentile of 0 .. 99
    np.testing.assert_allclose(images(made)[1][95, 95], rgb("inferno", 1.0), atol=1)
    np.testing.assert_allclose(images(made)[1][91, 4], rgb("inferno", 1.0), atol=1)  # the tenth row starts at 90


def test_signed_maps_have_a_neutral_zero_and_their_raw_range(tmp_path: Path) -> None:
    values = np.zeros((6, 1, 1, 3))
    values[..., 0], values[..., 2] = -0.5, 0.25
    made = figure(stored_run(tmp_path, {"m": block_of(values)}), images=1, percentile=100, opacity=1.0)
    assert {"−0.5 … 0.25", "−max", "0", "max"} <= set(texts(made))
    np.testing.assert_allclose(images(made)[1][48, 48], rgb("RdBu_r", 0.5), atol=2)
    np.testing.assert_allclose(images(made)[1][48, 0], rgb("RdBu_r", 0.0), atol=2)


def test_maps_without_evidence_are_hatched_or_grey_with_the_word(tmp_path: Path) -> None:
    drawn = maps(1)
    drawn[0] = np.nan
    drawn[1] = 0
    drawn[2, 0, 0, 0] = np.inf
    status = {0: Status.failed, 1: Status.zero, 2: Status.nonfinite, 3: Status.not_applicable}
    made = figure(stored_run(tmp_path, {"m": block_of(drawn, status=status)}), images=5)
    assert {"failed", "no evidence", "not finite", "not applicable"} <= set(texts(made))
    hatched = [p for p in made.figure.findobj(Rectangle) if p.get_hatch()]
    assert len(hatched) == 3
    assert len(images(made)) == 5 + 1 + 1 + 1  # photographs, the grey one, the map, its bar
    assert "shapes-2x96-s0-000000: m: failed (the reason)" in made.notes


def test_a_figure_without_any_evidence_has_no_bar(tmp_path: Path) -> None:
    made = figure(stored_run(tmp_path, {"m": block_of(np.zeros((6, 1, 2, 2)))}), images=1, scale="method")
    assert len(images(made)) == 2


def test_without_photographs_maps_stand_alone_and_it_is_said(tmp_path: Path) -> None:
    dataset = {"name": "folder", "path": str(tmp_path / "gone")}
    made = figure(stored_run(tmp_path, {"m": block_of(np.ones((6, 1, 2, 2)))}, dataset=dataset), images=1)
    assert "no photograph" in texts(made)
    assert re.search("no photograph: .*gone: no such folder", made.notes[0])
    assert (images(made)[0] == rgb("inferno", 1.0)).all()  # nothing shines through


def test_order_and_choice(run: Run) -> None:
    ids = ["shapes-2x96-s0-000004", "shapes-2x96-s0-000001"]
    made = figure(run, methods=["strip", "gradcam"], images=ids)
    found = [t for t in texts(made) if t in ("gradcam", "strip", "integrated_gradients")]
    assert found == ["strip", "gradcam"]
    shapes = Shapes(images=6, objects=2)
    for at, i in ((0, 4), (3, 1)):
        np.testing.assert_array_equal(images(made)[at], np.asarray(shapes[i].image))


def test_labels_can_be_left_out(run: Run) -> None:
    shown = texts(figure(run, images=1, scale="all", labels=False))
    assert all(re.fullmatch(r"[≤≥] ?[−\d.e+]+|0", t) for t in shown), shown


def test_truth_is_outlined_where_it_is(run: Run) -> None:
    made = figure(run, images=1, methods=["gradcam"], truth=True)
    axes = made.figure.axes[0]
    mask = np.any([r.mask for r in Shapes(images=6, objects=2)[0].truth], axis=0)
    path = np.concatenate([p.vertices for c in axes.collections for p in c.get_paths()])
    rows, columns = np.nonzero(mask)
    assert path[:, 0].min() == pytest.approx(columns.min(), abs=1)
    assert path[:, 0].max() == pytest.approx(columns.max() + 1, abs=1)
    assert path[:, 1].max() == pytest.approx(rows.max() + 1, abs=1)
    assert not figure(run, images=1, methods=["gradcam"]).figure.axes[0].collections


def test_samples_are_the_channels_of_the_snapshots(run: Run) -> None:
    made = figure(run, "samples")
    assert [t for t in texts(made) if t.startswith("N =")] == ["N = 1", "N = 2", "N = 5"]
    stored = run["strip"].row(0).attribution
    for k in range(3):
        drawn = images(made)[1 + k][..., 0].reshape(24, 4, 24, 4).mean((1, 3))  # 24 cells on 96 pixels
        alike = [np.corrcoef(drawn.ravel(), channel.ravel())[0, 1] for channel in stored]
        assert alike[k] > 0.9
        assert max(np.delete(alike, k)) < 0.5


def test_samples_of_a_sweep(tmp_path: Path) -> None:
    cells = {f"sg[samples={n}]": block_of(maps(n)) for n in (10, 2)}
    methods = {f"sg[samples={n}]": {"name": "smoothgrad", "samples": n, "sigma": 0.1} for n in (10, 2)}
    made = figure(stored_run(tmp_path, cells, methods=methods), "samples")
    assert [t for t in texts(made) if t.startswith("N =")] == ["N = 2", "N = 10"]


def test_two_rows(run: Run) -> None:
    made = figure(run, "two-rows", images=3)
    drawn = images(made)
    assert len(drawn) == 3 + 3 + 1
    np.testing.assert_allclose(drawn[3].reshape(-1, 3).max(0), rgb("hot", 1.0), atol=30)
    assert "gradcam" in texts(made)
    assert "strip" not in texts(made)


# --- statistics


def test_cliques_by_hand() -> None:
    assert cliques([1.0, 2.0, 3.0, 4.0], 1.5) == [(0, 1), (1, 2), (2, 3)]
    assert cliques([1.0, 1.2, 1.4, 4.0], 1.0) == [(0, 2)]
    assert cliques([1.0, 3.0], 2.0) == []  # as far apart as the difference is told apart
    assert cliques([1.0, 1.0, 1.0], 0.5) == [(0, 2)]
    assert cliques([], 1.0) == []


def test_critical_difference_diagram_is_to_scale(run: Run) -> None:
    made = figure(run, "critical-difference", metrics=["gini"])
    (board,) = [c for c in leaderboard(run).comparisons if c.metric == "gini"]
    lines = [(line.get_linewidth(), line.get_xdata(), line.get_ydata()) for line in made.figure.findobj(Line2D)]
    axis = max((x for w, x, y in lines if w == 0.7 and y[0] == y[1]), key=lambda x: abs(x[1] - x[0]))
    unit = abs(axis[1] - axis[0]) / 2  # ranks 1 to 3
    best = max(axis)
    expected = critical_difference(3, 6) * unit
    bars = [abs(x[1] - x[0]) for w, x, y in lines if w == 0.9 and y[0] == y[1]]
    assert bars == pytest.approx([min(expected, 2 * unit)])
    stems = sorted(x[0] for w, x, _ in lines if w == 0.5)
    assert stems == pytest.approx(sorted(best - (s.rank - 1) * unit for s in board.standings))
    thick = [sorted(x) for w, x, _ in lines if w == 1.8]
    ranks = [s.rank for s in board.standings]
    joined = [
        [best - (ranks[b] - 1) * unit - 0.5, best - (ranks[a] - 1) * unit + 0.5]
        for a, b in cliques(ranks, board.critical_difference)
    ]
    np.testing.assert_allclose(thick, joined)
    assert f"CD = {critical_difference(3, 6):.2f}" in " ".join(texts(made))


def test_labels_that_are_cut_are_told_and_a_wider_figure_shows_them(tmp_path: Path) -> None:
    cells = {f"integrated_gradients_of_{i}": block_of(maps(1)) for i in range(12)}
    values = {("gini", label): np.arange(6.0) + i for i, label in enumerate(cells)}
    run = stored_run(tmp_path, cells, values)
    assert any("labels are cut at 84 mm" in note for note in figure(run, "critical-difference").notes)
    wide = figure(run, "critical-difference", width=174)
    assert set(cells) <= set(texts(wide))
    assert not any("cut" in note for note in wide.notes)


def test_dots_and_intervals_are_those_of_the_table(run: Run) -> None:
    made = figure(run, "leaderboard")
    board = leaderboard(run)
    panels = {c.metric: a for c, a in zip(board.comparisons, made.figure.axes, strict=True)}
    for c in board.comparisons:
        lines = panels[c.metric].get_lines()
        dots = {float(line.get_xdata()[0]): line for line in lines if line.get_marker() == "o"}
        spans = {tuple(map(float, line.get_xdata())) for line in lines if line.get_marker() != "o"}
        for s in c.standings:
            assert s.mean.value in dots
            assert (s.mean.low, s.mean.high) in spans
            full = s is c.standings[0] or not s.distinguishable
            assert (dots[s.mean.value].get_markerfacecolor() != "white") == full


def test_panels_of_several_datasets_tell_them_apart(tmp_path: Path) -> None:
    for objects in (2, 4):
        values = {("gini", "a"): np.arange(6.0), ("gini", "b"): np.arange(6.0) + objects}
        cells = {label: block_of(maps(objects + i)) for i, label in enumerate("ab")}
        several = stored_run(
            tmp_path, cells, values, backbone="vgg", dataset={**SHAPES, "objects": objects}, study="both"
        )
    assert {"objects=2", "objects=4"} <= {line for t in texts(figure(several, "leaderboard")) for line in t.split("\n")}
    said = " ".join(texts(figure(several, "critical-difference")))
    assert "vgg, predicted, objects=2" in said
    assert "vgg, predicted, objects=4" in said


def test_a_metric_that_judges_nobody_has_grey_dots(tmp_path: Path) -> None:
    cells = {label: block_of(maps(i)) for i, label in enumerate("ab")}
    tag = {("on tag", "a"): np.arange(6.0), ("on tag", "b"): np.arange(6.0) + 9}
    made = figure(stored_run(tmp_path, cells, tag, better="neither"), "leaderboard")
    dots = [line for axes in made.figure.axes for line in axes.get_lines() if line.get_marker() == "o"]
    assert {line.get_markerfacecolor() for line in dots} == {FAINT}
    assert "neither is better" in texts(made)


def test_methods_that_are_left_out_take_no_part_in_the_ranks(run: Run) -> None:
    made = figure(run, "critical-difference", methods=["gradcam", "strip"], metrics=["gini"])
    assert f"CD = {critical_difference(2, 6):.2f}" in " ".join(texts(made))
    assert "integrated_gradients" not in " ".join(texts(made))


def test_a_leaderboard_shows_itself_in_a_notebook_and_escapes(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    run = stored_run(tmp_path, {name: block_of(maps(1))}, {(name, name): range(6)}, backbone=name)
    page = leaderboard(run)._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3
    assert "<td>2.5 [" in page


# --- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "leaderbord"}, "did you mean 'leaderboard'"),
        ({"methods": ["gradcm"]}, "did you mean 'gradcam'"),
        ({"images": ["shapes-2x96-s0-00001"]}, "did you mean 'shapes-2x96-s0-000001'|'shapes-2x96-s0-000001'"),
        ({"images": 0}, "give a number from 1 on"),
        ({"backbone": "vvg"}, "did you mean 'vgg'"),
        ({"target": "predict"}, "did you mean 'predicted'"),
        ({"layout": "leaderboard", "metrics": ["gin"]}, "did you mean 'gini'"),
        ({"layout": "leaderboard", "methods": ["gradcm"]}, "did you mean 'gradcam'"),
        ({"width": 20}, r"20 mm are too little for 4 pictures of 6 mm side by side; give \d+ mm"),
        ({"layout": "critical-difference", "width": 30}, "for the axis; give"),
        ({"layout": "leaderboard", "width": 30}, "for the dots; give"),
        ({"width": float("nan")}, "no width of a figure"),
        ({"dpi": 10}, "give 50 to 2400"),
        ({"opacity": 2}, "no share"),
        ({"percentile": 1}, "no percentile"),
        ({"scale": "rows"}, "did you mean 'row'"),
        ({"colormap": "infern"}, "did you mean 'inferno'"),
        ({"colour": "red"}, "no option 'colour'; did you mean 'colormap'"),
        ({"layout": "samples", "methods": ["gradcam"]}, "snapshots="),
    ],
)
def test_mistakes_are_explained(run: Run, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        figure(run, **options)


def test_the_least_width_that_is_told_is_enough(run: Run) -> None:
    for layout in ("methods-by-images", "critical-difference", "leaderboard"):
        with pytest.raises(ConfigError) as caught:
            figure(run, layout, width=20)
        least = float(re.search(r"give (\d+) mm", str(caught.value))[1])  # type: ignore[index]
        assert figure(run, layout, width=least).width == least
        with pytest.raises(ConfigError):
            figure(run, layout, width=least - 2)


def test_a_run_of_several_backbones_asks_which(tmp_path: Path) -> None:
    for name in ("vgg", "resnet"):
        run = stored_run(tmp_path, {"m": block_of(maps(1))}, {("gini", "m"): range(6)}, backbone=name)
    with pytest.raises(ConfigError, match="the run has 2 backbones, a figure shows one; give one of: vgg, resnet"):
        figure(run)
    with pytest.raises(ConfigError, match="2 backbones"):
        figure(run, "leaderboard")
    assert figure(run, backbone="resnet", images=1).height > 0


def test_a_run_without_metrics_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"has no metrics; xai run ... metric="):
        figure(stored_run(tmp_path, {"m": block_of(maps(1))}), "leaderboard")


def test_one_method_has_no_critical_difference(tmp_path: Path) -> None:
    run = stored_run(tmp_path, {"m": block_of(maps(1))}, {("gini", "m"): range(6)})
    with pytest.raises(ConfigError, match="no ranks to compare"):
        figure(run, "critical-difference")


def test_a_missing_matplotlib_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r'matplotlib is not installed; pip install "xai-framework\[figures\]"'):
        figure(run)


def test_files_by_their_ending(run: Run, tmp_path: Path) -> None:
    made = figure(run, images=1, methods=["gradcam"], width=60)
    assert [p.name for p in made.save(tmp_path / "a" / "fig")] == ["fig.pdf", "fig.png"]
    assert made.save(tmp_path / "b.v2.PDF")[0].read_bytes().startswith(b"%PDF")
    with pytest.raises(ConfigError, match=r"no figure is written as '\.svg'"):
        made.save(tmp_path / "c.svg")


def test_what_no_page_could_show_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    ids = [f"image {i}" for i in range(300)]
    run = stored_run(tmp_path, {"m": block_of(np.ones((300, 1, 1, 1)), ids)})
    with pytest.raises(ConfigError, match="more than 32768 pixels a side; take fewer images"):
        figure(run, images=300)
    made = figure(run, images=4, width=80, methods=["m"])
    assert not any("more than a page" in note for note in made.notes)
    assert any("more than a page" in note for note in figure(run, images=4, width=160, methods=["m"]).notes)


def test_a_place_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    made = figure(run, images=1, methods=["gradcam"], width=60)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for bad in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(StoreError, match=r"file|folder"):
            made.save(bad)


def test_the_dataset_is_that_of_the_wanted_images(tmp_path: Path) -> None:
    other = {**SHAPES, "seed": 1}
    ids = [f"shapes-2x96-s1-{i:06d}" for i in range(6)]
    stored_run(tmp_path, {"m": block_of(maps(1))}, study="two", backbone="vgg")
    run = stored_run(tmp_path, {"m2": block_of(maps(2), ids)}, study="two", backbone="vgg", dataset=other)
    made = figure(run, images=[ids[3]], methods=["m2"])
    np.testing.assert_array_equal(images(made)[0], np.asarray(Shapes(images=6, objects=2, seed=1)[3].image))
