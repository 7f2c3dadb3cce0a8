"""The page as written: what it holds, what it escapes, what it leaves out."""

from __future__ import annotations

import base64
import gc
import hashlib
import io
import json
import re
import weakref
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import cmap
import numpy as np
import pytest
from PIL import Image
from xai_plugins.renderers.heatmap import Heatmap
from xai_plugins.renderers.overlay import Overlay

from xai_framework.core import ConfigError, Status
from xai_framework.report.diagram import diagram_of
from xai_framework.report.look import PageStyle
from xai_framework.report.page import MOST_IN_ONE_FILE, write_page
from xai_framework.report.rows import disagreement
from xai_framework.report.text import number
from xai_framework.report.thumbnails import map_address, mask_runs, shown_size
from xai_framework.report.view import CellView, ColumnView, MetricView, PictureView, StudyView
from xai_framework.statistics import compared

HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(2)></style></title></pre>{{7*7}}{% x %}"
    "<!--rows--><!-- &amp; &#60; \u2028\u2029\u202e\x00\udc80 javascript:alert(3)"
)


class Page(HTMLParser):
    """Start tags with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.text: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        self._open = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_data(self, data: str) -> None:
        if self._open in self.inside:
            self.inside[self._open][-1] += data
        else:
            self.text.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        wanted = {k.rstrip("_"): v for k, v in attributes.items()}
        return [a for t, a in self.tags if t == tag and all(a.get(k) == v for k, v in wanted.items())]


def photograph(size: tuple[int, int] = (48, 48)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def study(
    rows: Iterator[PictureView] | list[PictureView], images: int = 1, labels: str = "m", **more: object
) -> StudyView:
    return StudyView("a study", [ColumnView(label) for label in labels], rows, images, **more)  # type: ignore[arg-type]


def written(folder: Path, view: StudyView, style: PageStyle | None = None, **more: int) -> tuple[Page, str]:
    path = write_page(folder, view, style, **more)
    assert path == folder / "index.html"
    text = path.read_text("utf-8")
    return Page(text), text


class Data:
    """What the page's script is given: the head, and rows and values of all pieces."""

    def __init__(self, path: Path) -> None:
        page = Page(path.read_text("utf-8"))
        texts = dict(zip([a.get("id", "") for t, a in page.tags if t == "script"], page.inside["script"], strict=True))
        self.head = json.loads(texts.pop("head"))
        for file in path.parent.glob("page-*/*.js"):
            found = re.fullmatch(r'xaiPiece\("(\w+)", (.*)\);\n', file.read_text("ascii"))
            assert found
            texts[found[1]] = found[2]
        self.pieces = {name: json.loads(text) for name, text in texts.items() if name}
        numbers = sorted(int(n[4:]) for n in self.pieces if n.startswith("rows"))
        self.rows = [row for n in numbers for row in self.pieces[f"rows{n}"]]


def told(folder: Path, view: StudyView, style: PageStyle | None = None, **more: int) -> Data:
    return Data(write_page(folder, view, style, **more))


def decoded(address: str) -> Image.Image:
    head, data = address.split(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_map_is_a_grey_picture_about_its_zero() -> None:
    values = np.zeros((4, 4))
    values[0, 0], values[3, 3] = -1.0, 2.0
    drawn = np.asarray(decoded(map_address(values, (64, 32), "nearest", 95)))[..., 0].astype(int)
    assert drawn.shape == (32, 64)
    assert abs(drawn[2, 4] - 64) <= 4  # half way down from the middle
    assert abs(drawn[-3, -4] - 255) <= 4
    assert abs(drawn[16, 32] - 128) <= 2


def test_raw_range_top_and_sign_stand_beside_every_map(tmp_path: Path) -> None:
    maps = [np.array([[[-0.0123456, 3.0]], [[0.0, 1.0]]]), np.full((1, 2, 2), 2e-9)]
    data = told(tmp_path, study([PictureView("a", [CellView(m) for m in maps], photograph())], labels="mn"))
    first, second = data.rows[0]["cells"]
    assert (first["low"], first["high"]) == (-0.0123456, 4.0)
    assert (second["low"], second["high"], second["most"]) == (2e-9, 2e-9, 2e-9)
    assert [(m["top"], m["signed"]) for m in data.head["methods"]] == [(4.0, True), (2e-9, False)]


def test_the_scale_of_a_method_spans_its_rows(tmp_path: Path) -> None:
    rows = [
        PictureView(str(i), [CellView(np.full((1, 2, 2), v))], photograph()) for i, v in enumerate((1.0, -5.0, 2.0))
    ]
    (method,) = told(tmp_path, study(rows, 3)).head["methods"]
    assert (method["top"], method["signed"]) == (5.0, True)


@pytest.mark.parametrize(
    ("cell", "word", "also"),
    [
        (CellView(np.zeros((1, 2, 2)), Status.zero), "no evidence", "all zero"),
        (CellView(np.zeros((1, 2, 2))), "no evidence", "all zero"),
        (CellView(np.full((1, 2, 2), np.nan), Status.nonfinite, "bad outputs"), "not finite", "bad outputs"),
        (CellView(np.array([[[np.nan, 1.0]]])), "not finite", "1 of 2 not finite"),
        (CellView(None, Status.failed, "it broke"), "failed", "it broke"),
        (CellView(None, Status.not_applicable, "no grid"), "not applicable", "no grid"),
        (CellView(None, None), "not computed yet", ""),
        (CellView(None), "not computed yet", ""),
    ],
)
def test_what_is_no_evidence_is_never_drawn(tmp_path: Path, cell: CellView, word: str, also: str) -> None:
    data = told(tmp_path, study([PictureView("a", [cell], photograph())]))
    (shown,) = data.rows[0]["cells"]
    assert shown["word"] == word
    assert "map" not in shown
    assert also in f"{shown.get('reason')} {shown.get('range')}"
    text = (tmp_path / "index.html").read_text("utf-8")
    assert ("Maps without evidence</h2>" in text) == (word != "not computed yet")


def test_statuses_are_counted_and_listed(tmp_path: Path) -> None:
    cells = [CellView(None, Status.failed, "boom"), CellView(np.zeros((1, 1, 1))), CellView(np.ones((1, 1, 1)))]
    page, text = written(tmp_path, study([PictureView("a", cells), PictureView("b", cells)], 2, "xyz"))
    assert "2 no evidence, 2 failed. They are never drawn" in text.replace("\n", "")
    assert [a["data-row"] for a in page.all("button") if "data-row" in a] == ["0", "0", "1", "1"]
    assert [row["statuses"] for row in Data(tmp_path / "index.html").head["rows"]] == ["fzo", "fzo"]


def test_a_missing_photograph_is_said(tmp_path: Path) -> None:
    view = study([PictureView("a", [CellView(np.ones((1, 4, 4)))], missing="file is gone")])
    (row,) = told(tmp_path, view).rows
    assert row["missing"] == "file is gone"
    assert "photograph" not in row
    assert "map" in row["cells"][0]


def test_unknown_numbers_leave_no_trace(tmp_path: Path) -> None:
    row = PictureView(
        "a", [CellView(np.ones((1, 1, 1)))], prediction="cat", probability=float("nan"), score=float("nan")
    )
    (facts,) = told(tmp_path, study([row])).head["rows"]
    assert facts == {"image": 0, "place": 0, "statuses": "o", "kind": "score", "prediction": "cat"}


def test_a_cut_is_stated_and_no_further_row_is_read(tmp_path: Path) -> None:
    read = []

    def rows() -> Iterator[PictureView]:
        for i in range(1000):
            read.append(i)
            for backbone in ("p", "q"):
                yield PictureView(f"image {i}", [CellView(np.ones((1, 2, 2)))], photograph(), backbone=backbone)

    _, text = written(tmp_path, study(rows(), 1000), most_images=3)
    assert "Showing the first 3 of 1,000 images" in text
    head = Data(tmp_path / "index.html").head
    assert [head["places"][row["place"]]["backbone"] for row in head["rows"]] == ["p", "q"] * 3
    assert read == [0, 1, 2, 3]
    _, whole = written(tmp_path, study([PictureView("a", [CellView(np.ones((1, 2, 2)))])]), most_images=3)
    assert "Showing the first" not in whole


def test_many_images_lie_beside_the_page(tmp_path: Path) -> None:
    def rows(count: int) -> Iterator[PictureView]:
        for i in range(count):
            yield PictureView(
                f"i{i}", [CellView(np.full((1, 2, 2), i + 1.0))], photograph((300, 300)), values={"gini": [i / 2]}
            )

    count = MOST_IN_ONE_FILE + 1
    view = study(rows(count), count, metrics=[MetricView("gini", higher_is_better=False)])
    data = told(tmp_path, view, most_images=None)
    assert len(list(tmp_path.glob("page-*"))) == 1
    assert [row["cells"][0]["high"] for row in data.rows] == [i + 1.0 for i in range(count)]
    assert data.pieces["values0"] == [[i / 2] for i in range(count)]
    assert max(data.rows[0]["size"]) == 128
    text = (tmp_path / "index.html").read_text("utf-8")
    assert len(text) < 150_000
    assert "'strict-dynamic'" in text
    # the next page takes its place, with its files
    few = told(tmp_path, study(rows(2), 2), most_images=None)
    assert not list(tmp_path.glob("page-*"))
    assert len(few.rows) == 2
    assert "strict-dynamic" not in (tmp_path / "index.html").read_text("utf-8")


def test_values_of_metrics_are_told_by_row_and_method(tmp_path: Path) -> None:
    cells = [CellView(np.ones((1, 2, 2)))] * 2
    rows = [PictureView(i, cells, values={"a": [1.0, float("nan")]}) for i in "pq"]
    data = told(tmp_path, study(rows, 2, "xy", metrics=[MetricView("a"), MetricView("b", False, judged=False)]))
    assert data.head["metrics"] == [
        {"label": "a", "higher": True, "judged": True},
        {"label": "b", "higher": False, "judged": False},
    ]
    assert data.pieces["values0"] == [[1.0, None], [1.0, None]]
    assert data.pieces["values1"] == [[None, None], [None, None]]


def test_methods_that_agree_differ_by_nothing() -> None:
    ramp = np.arange(196.0).reshape(1, 14, 14)
    same = [CellView(ramp), CellView(10 * ramp), CellView(ramp**3)]
    assert disagreement(same) == pytest.approx(0)
    assert disagreement([CellView(ramp), CellView(-ramp)]) == pytest.approx(2)
    # one pair of three agrees, two are opposite: 1 - (1 - 1 - 1) / 3
    assert disagreement([CellView(ramp), CellView(ramp), CellView(-ramp)]) == pytest.approx(4 / 3)
    assert np.isnan(disagreement([CellView(ramp), CellView(np.zeros((1, 4, 4))), CellView(None, Status.failed)]))


def test_maps_are_let_go_row_by_row(tmp_path: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def rows() -> Iterator[PictureView]:
        nonlocal most
        for i in range(20):
            attribution = np.ones((1, 8, 8))
            alive.append(weakref.ref(attribution))
            gc.collect()
            most = max(most, sum(a() is not None for a in alive))
            yield PictureView(str(i), [CellView(attribution)], photograph())

    write_page(tmp_path, study(rows(), 20))
    assert most <= 3


def test_a_page_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    def rows() -> Iterator[PictureView]:
        yield PictureView("a", [CellView(np.ones((1, 1, 1)))])
        raise RuntimeError("the reader broke")

    write_page(tmp_path, study([PictureView("old", [CellView(np.ones((1, 1, 1)))])]))
    with pytest.raises(RuntimeError, match="the reader broke"):
        write_page(tmp_path, study(rows(), 2))
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    assert "old" in (tmp_path / "index.html").read_text("utf-8")


def test_rows_must_have_a_cell_a_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_page(tmp_path, study([PictureView("a", [])]))


def hostile() -> StudyView:
    row = PictureView(
        *(HOSTILE, [CellView(np.ones((1, 2, 2)), Status.ok, HOSTILE), CellView(None, Status.failed, HOSTILE)]),
        *(photograph(), HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1.0, HOSTILE, HOSTILE, HOSTILE, 0.5, True),
    )
    bare = PictureView(HOSTILE + "2", row.cells, None, HOSTILE, HOSTILE + "2", HOSTILE + "2")
    columns = [ColumnView(HOSTILE, HOSTILE, HOSTILE), ColumnView(HOSTILE + "2")]
    return StudyView(HOSTILE, columns, [row, bare] * 3, 6, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, [HOSTILE])


@pytest.mark.parametrize("form", ["single", "folder"])
def test_hostile_texts_stay_texts(tmp_path: Path, form: str) -> None:
    path = write_page(tmp_path, hostile(), form=form)  # type: ignore[arg-type]
    page = Page(path.read_text("utf-8"))
    assert not {t for t, _ in page.tags} & {"iframe", "object", "embed", "link", "base", "x", "math", "template", "img"}
    scripts = page.all("script")
    assert len([s for s in scripts if s.get("type") != "application/json"]) == 1
    assert len(page.all("style")) == 1
    for tag, attributes in page.tags:
        assert not [k for k in attributes if k.startswith("on") or k in ("style", "srcdoc", "action")], tag
        assert not {"src", "href"} & attributes.keys(), (tag, attributes)
    assert "{{7*7}}{% x %}" in "".join(page.text)
    data = Data(path)
    assert data.head["images"][0]["id"] == HOSTILE
    assert data.rows[0]["cells"][1]["reason"] == HOSTILE
    for file in tmp_path.glob("page-*/*.js"):
        assert not set("<>&") & set(file.read_text("ascii"))


def test_only_our_own_script_and_style_may_run(tmp_path: Path) -> None:
    page, _ = written(tmp_path, hostile())
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.inside[tag][-1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_colour_filters_are_the_colour_maps(tmp_path: Path) -> None:
    style = PageStyle("hot", "vik")
    page, text = written(tmp_path, study([PictureView("a", [CellView(np.ones((1, 2, 2)))])]), style)
    assert [f["id"] for f in page.all("filter")] == ["s0", "s1", "s2", "s3", "s4", "s5", "d"]
    first = [np.array(page.all(f"fefunc{c}")[0]["tablevalues"].split(), float) for c in "rgb"]
    last = [np.array(page.all(f"fefunc{c}")[-1]["tablevalues"].split(), float) for c in "rgb"]
    hot, vik = cmap.Colormap("hot"), cmap.Colormap("vik")
    for grey, at in ((0, 0.0), (64, 0.0), (96, 0.5), (128, 1.0)):  # the lower half of the greys is below zero
        assert [c[grey] for c in first] == pytest.approx(hot(at).rgba[:3], abs=0.01)
    for grey, at in ((0, 0.0), (32, 0.25), (128, 1.0)):
        assert [c[grey] for c in last] == pytest.approx(vik(at).rgba[:3], abs=0.01)
    assert '<option value="s0">hot</option>' in text


def test_photographs_are_told_once_and_never_enlarged(tmp_path: Path) -> None:
    cells = [CellView(np.ones((1, 2, 2)))] * 4
    (row,) = told(tmp_path, study([PictureView("a", cells, photograph((640, 320)))], labels="abcd")).rows
    assert row["size"] == [320, 160]
    assert decoded(row["photograph"]).size == (320, 160)
    assert {decoded(c["map"]).size for c in row["cells"]} == {(320, 160)}
    assert shown_size((20, 10), 320) == (20, 10)


def test_boxes_are_shares_of_the_picture(tmp_path: Path) -> None:
    row = PictureView("a", [CellView(np.ones((1, 2, 2)))], photograph((640, 640)), boxes=[(64, 128, 320, 640)])
    (told_,) = told(tmp_path, study([row])).rows
    assert told_["boxes"] == [[0.1, 0.2, 0.5, 1.0]]


def test_a_mask_is_told_by_its_runs() -> None:
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    assert mask_runs(mask) == [4, 3, 5, 2, 5]
    mask[0, 0] = True
    assert mask_runs(mask) == [4, 3, 0, 1, 4, 2, 5]
    assert mask_runs(np.zeros((3, 4), bool)) == []


def test_a_fine_mask_is_coarsened() -> None:
    y, x = np.mgrid[:1000, :1000]
    width, height, *runs = mask_runs((y - 500) ** 2 + (x - 500) ** 2 < 300**2)
    assert (width, height) == (112, 112)
    assert sum(runs) == 112 * 112
    assert sum(runs[1::2]) / sum(runs) == pytest.approx(np.pi * 0.09, abs=0.01)


def test_the_diagram_places_methods_by_their_rank() -> None:
    drawn = diagram_of([("a", 1.0), ("b", 2.5), ("c", 2.5), ("d", 4.0)], 1.6)
    assert drawn is not None
    at = [float(m["points"].split(",")[0]) for m in drawn["methods"]]
    first, last = drawn["axis"]
    assert at == pytest.approx([first, (first + last) / 2, (first + last) / 2, last])
    assert drawn["difference"][1] - drawn["difference"][0] == pytest.approx(1.6 * (last - first) / 3, abs=0.1)
    assert len(drawn["cliques"]) == 2
    assert diagram_of([("a", 1.0), ("b", 2.0)], 0.5) is None
    assert diagram_of([("a", float("nan"))] * 3, float("nan")) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-0.0123456, "−0.0123"),
        (999.9, "1000"),
        (12345.6, "12346"),
        (123456.0, "1.2e5"),
        (-3.14e-9, "−3.1e−9"),
        (5e-324, "4.9e−324"),
    ],
)
def test_numbers_are_short_and_exact_in_magnitude(value: float, text: str) -> None:
    assert number(value) == text


def test_a_style_follows_the_renderer() -> None:
    style = PageStyle.like(Overlay("viridis", "vik", "nearest", 0.3, False), "method")
    assert style == PageStyle("viridis", "vik", "nearest", 0.3, False, "method")
    assert PageStyle.like(Heatmap("hot")) == PageStyle("hot")


@pytest.mark.parametrize("wrong", [{"colormap": "infreno"}, {"signed_colormap": "rdbuu"}, {"scale": "methd"}])
def test_a_wrong_style_is_refused_with_the_nearest_name(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        PageStyle(**wrong)  # type: ignore[arg-type]


def test_an_empty_study_is_a_page_too(tmp_path: Path) -> None:
    _, text = written(tmp_path, study([], 0))
    assert Data(tmp_path / "index.html").head["rows"] == []
    assert "0 images · 1 method" in text


def test_the_leaderboard_stands_on_the_page_in_words_and_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.5, 40)
    hostile = "</td><script>alert(1)</script>"
    comparisons = tuple(
        compared(
            {"good": base + 0.3, hostile: base, "none": base * np.nan if metric == "c" else base - 0.1},
            metric=metric,
        )
        for metric in ("a", "b", "c")
    )
    page = write_page(tmp_path, StudyView("s", [ColumnView("good")], [], 0, comparisons=comparisons)).read_text("utf-8")
    assert "good is best, distinguishable from all others at n = 40" in page
    assert "none has no value" in page
    assert page.count('class="interval"') == 8  # three methods by two metrics, and two by the third
    assert "<script>alert" not in page
    assert "Mean rank over images, 1 is best" in page
    without = write_page(tmp_path, StudyView("s", [ColumnView("good")], [], 0)).read_text("utf-8")
    assert "Which methods differ" not in without
