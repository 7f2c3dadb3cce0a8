"""The page as written: what it holds, what it escapes, what it leaves out."""

from __future__ import annotations

import base64
import gc
import hashlib
import io
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
from xai_framework.report.page import PageStyle, number, write_page
from xai_framework.report.thumbnails import map_address, outline_path, shown_size
from xai_framework.report.view import CellView, ColumnView, PictureView, StudyView
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

    def handle_data(self, data: str) -> None:
        self.inside.get(self._open, self.text).append(data)

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
    page, text = written(tmp_path, study([PictureView("a", [CellView(m) for m in maps], photograph())], labels="mn"))
    assert "−0.0123 … 4</span>" in text
    assert "2.0e−9 … 2.0e−9" in text
    tops = [float(img["data-top"]) for img in page.all("img")]
    assert tops == pytest.approx([4.0, 2e-9])
    assert [h["data-signed"] for h in page.all("th") if "data-signed" in h] == ["yes", "no"]
    style = page.inside["style"][0]
    assert "td:nth-child(2) .heat{filter:contrast(var(--gain,1)) var(--diverging)}" in style
    assert "td:nth-child(3)" not in style


def test_the_scale_of_a_method_spans_its_rows(tmp_path: Path) -> None:
    rows = [
        PictureView(str(i), [CellView(np.full((1, 2, 2), v))], photograph()) for i, v in enumerate((1.0, -5.0, 2.0))
    ]
    page, _ = written(tmp_path, study(rows, 3))
    (head,) = page.all("th", **{"data-column": "0"})
    assert float(head["data-top"]) == 5.0
    assert head["data-signed"] == "yes"


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
    page, text = written(tmp_path, study([PictureView("a", [cell], photograph())]))
    assert not page.all("img")
    assert f"<b>{word}</b>" in text
    assert also in text
    assert ("Maps without evidence</h2>" in text) == (word != "not computed yet")


def test_statuses_are_counted_and_listed(tmp_path: Path) -> None:
    cells = [CellView(None, Status.failed, "boom"), CellView(np.zeros((1, 1, 1))), CellView(np.ones((1, 1, 1)))]
    page, text = written(tmp_path, study([PictureView("a", cells), PictureView("b", cells)], 2, "xyz"))
    assert "4 maps without evidence</a>: 2 no evidence, 2 failed." in text
    assert [a["href"] for a in page.all("a")] == ["#problems", "#row0", "#row0", "#row1", "#row1"]


def test_a_missing_photograph_is_said(tmp_path: Path) -> None:
    page, text = written(tmp_path, study([PictureView("a", [CellView(np.ones((1, 4, 4)))], missing="file is gone")]))
    assert "no photograph" in text
    assert "file is gone" in text
    assert len(page.all("img")) == 1
    assert not page.all("use")


def test_unknown_numbers_leave_no_trace(tmp_path: Path) -> None:
    row = PictureView(
        "a", [CellView(np.ones((1, 1, 1)))], prediction="cat", probability=float("nan"), score=float("nan")
    )
    _, text = written(tmp_path, study([row]))
    assert "nan" not in re.sub(r"data:[^\"]*", "", text).lower()


def test_a_cut_is_stated_and_no_further_row_is_read(tmp_path: Path) -> None:
    read = []

    def rows() -> Iterator[PictureView]:
        for i in range(1000):
            read.append(i)
            for backbone in ("p", "q"):
                yield PictureView(f"image {i}", [CellView(np.ones((1, 2, 2)))], photograph(), backbone=backbone)

    page, text = written(tmp_path, study(rows(), 1000), most_images=3)
    assert "Showing the first 3 of 1,000 images." in text
    assert len(page.all("tbody", **{"data-backbone": "q"})) == 3
    assert read == [0, 1, 2, 3]
    _, whole = written(tmp_path, study([PictureView("a", [CellView(np.ones((1, 2, 2)))])]), most_images=3)
    assert "Showing the first" not in whole


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


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    page, _ = written(tmp_path, hostile())
    assert not {t for t, _ in page.tags} & {"iframe", "object", "embed", "link", "base", "x", "math", "template"}
    assert {a.get("src", "")[:22] for t, a in page.tags if t == "img"} == {"data:image/webp;base64"}
    assert len(page.all("script")) == 1
    assert len(page.all("style")) == 1
    for tag, attributes in page.tags:
        assert not [k for k in attributes if k.startswith("on") or k in ("style", "srcdoc", "action")], tag
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/webp;base64,")), (tag, attributes)
    assert "{{7*7}}{% x %}" in "".join(page.text)


def test_only_our_own_script_and_style_may_run(tmp_path: Path) -> None:
    page, _ = written(tmp_path, hostile())
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256("".join(page.inside[tag]).encode()).digest()).decode()
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


def test_one_image_gets_large_pictures(tmp_path: Path) -> None:
    cells = [CellView(np.ones((1, 2, 2)))] * 3
    one, text = written(tmp_path, study([PictureView("a", cells, photograph())], labels="abc"))
    assert '<body class="single">' in text
    large = int(re.search(r"--size:(\d+)px", one.inside["style"][0])[1])  # type: ignore[index]
    many, text = written(tmp_path, study([PictureView(i, cells, photograph()) for i in "ab"], 2, "abc"))
    assert '<body class="single">' not in text
    assert large > int(re.search(r"--size:(\d+)px", many.inside["style"][0])[1])  # type: ignore[index]


def test_photographs_are_shown_once_and_never_enlarged(tmp_path: Path) -> None:
    cells = [CellView(np.ones((1, 2, 2)))] * 4
    page, text = written(tmp_path, study([PictureView("a", cells, photograph((640, 320)))], labels="abcd"))
    (image,) = page.all("image")
    assert decoded(image["href"]).size == (320, 160)
    assert {decoded(i["src"]).size for i in page.all("img")} == {(320, 160)}
    assert len(page.all("use", href="#p0")) == 4
    assert text.count(image["href"]) == 1
    assert shown_size((20, 10), 320) == (20, 10)


def test_every_map_has_a_text_alternative(tmp_path: Path) -> None:
    row = PictureView("cat.png", [CellView(np.ones((1, 2, 2)))], photograph(), explained="tabby", label="cat")
    page, _ = written(tmp_path, study([row]))
    assert page.all("img")[0]["alt"] == "m for tabby in cat.png: values 1 … 1"
    assert page.all("svg", role="img")[0]["aria-label"] == "Photograph cat.png, cat"


def test_boxes_follow_the_shown_size(tmp_path: Path) -> None:
    row = PictureView("a", [CellView(np.ones((1, 2, 2)))], photograph((640, 640)), boxes=[(64, 128, 320, 640)])
    page, _ = written(tmp_path, study([row]))
    assert page.all("rect") == [{"x": "32", "y": "64", "width": "128", "height": "256"}]


def test_the_outline_of_a_rectangle_is_its_four_sides() -> None:
    mask = np.zeros((8, 10), bool)
    mask[2:6, 3:9] = True
    assert sorted(re.findall(r"M[^M]+", outline_path(mask, (100, 80)))) == [
        "M30 20H90",
        "M30 20V60",
        "M30 60H90",
        "M90 20V60",
    ]
    assert outline_path(np.zeros((8, 10), bool), (100, 80)) == ""


def test_the_outline_of_a_fine_mask_is_coarsened() -> None:
    y, x = np.mgrid[:1000, :1000]
    path = outline_path((y - 500) ** 2 + (x - 500) ** 2 < 300**2, (224, 224))
    ends = np.array([float(v) for v in re.findall(r"V([\d.]+)", path)])
    assert ends.max() == pytest.approx(0.8 * 224, abs=2)
    assert len(path) < 6000


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
    page, text = written(tmp_path, study([], 0))
    assert not page.all("tbody")
    assert "0 images · 1 method" in text


def test_the_leaderboard_stands_on_the_page_in_words_and_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.5, 40)
    hostile = "</td><script>alert(1)</script>"
    comparisons = tuple(
        compared(
            {"good": base + 0.3, hostile: base, "none": base * np.nan if metric == "c" else base - 0.1}, metric=metric
        )
        for metric in ("a", "b", "c")
    )
    page = write_page(tmp_path, StudyView("s", [ColumnView("good")], [], 0, comparisons=comparisons)).read_text("utf-8")
    assert "good is best, distinguishable from all others at n = 40" in page
    assert "nothing can be compared" in page
    assert page.count('class="interval"') == 6  # three methods by two metrics; the third has no common image
    assert "<script>alert" not in page
    assert "Mean rank over images, 1 is best" in page
    without = write_page(tmp_path, StudyView("s", [ColumnView("good")], [], 0)).read_text("utf-8")
    assert "Which methods differ" not in without
