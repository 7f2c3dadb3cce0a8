"""The page in a real browser, opened from disk: what a reader sees and does."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from xai_plugins.renderers.heatmap import Heatmap

from xai_framework.core import Scale, Status
from xai_framework.report.page import write_page
from xai_framework.report.view import CellView, ColumnView, MetricView, PictureView, RecipeView, StudyView
from xai_framework.statistics import compared

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)
PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</pre></textarea><img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    '" onmouseover="alert(1)" autofocus onfocus="alert(1)" x="',
    "' onerror='alert(1)",
    "javascript:alert(1)",
    "<a href=javascript:alert(1)>x</a>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'>",
    "<img src=http://example.invalid/x.png>",
    "<link rel=stylesheet href=http://example.invalid/x.css>",
    "<meta http-equiv=refresh content='0;url=http://example.invalid/'>",
    "<base href=http://example.invalid/>",
    "<object data=http://example.invalid/></object>",
    "<style>@import url(http://example.invalid/x.css)</style>",
    "{{ ''.__class__ }}{% for x in (1).__class__.__base__.__subclasses__() %}{% endfor %}",
    "<!--rows--><!-- --><![CDATA[<script>alert(1)</script>]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u2028alert(1)\u2029//\u202e\x00\udc80",
    "<math><mtext><style><img src=x onerror=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<svg><script>alert(1)</script></svg>",
    "<svg/onload=alert(1)>",
    "<img src onerror=alert(1)>",
    "<image href=x onerror=alert(1)>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<select autofocus onfocus=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<form action=javascript:alert(1)><input type=submit>",
    "<button formaction=javascript:alert(1)>x</button>",
    "<embed src=http://example.invalid/x.swf>",
    "<script src=http://example.invalid/x.js></script>",
    "<script type=module>import('http://example.invalid/x.js')</script>",
    "<iframe src=http://example.invalid/></iframe>",
    "<frameset onload=alert(1)>",
    "<table background=http://example.invalid/x.png>",
    "<div style='background:url(http://example.invalid/x.png)'>",
    "<style>*{background:url(http://example.invalid/x.png)}</style>",
    "<svg><use href=http://example.invalid/x.svg#a></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:alert(1)",
    "</script><!--<script>alert(1)//-->",
    "--></script><script>alert(1)</script>",
    "';alert(1);//",
    '";alert(1);//',
    "`${alert(1)}`",
    "${alert(1)}",
    "\\';alert(1)//",
    "</datalist><img src=x onerror=alert(1)>",
    "__proto__",
    "constructor.prototype.polluted",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no browser: install chromium")
        pytest.skip("no browser: install chromium to test the page")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        yield started
        started.close()


@dataclass
class Opened:
    """A page and all that it did besides being shown."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def quiet(self) -> None:
        assert not self.complaints
        assert not self.dialogs
        assert all(r.startswith(("file:", "data:")) for r in self.requests)


def opened(browser: Browser, path: Path, width: int = 1200, scheme: str = "light", view: str = "") -> Opened:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        offline=True,
    )
    page = context.new_page()
    seen = Opened(page)
    page.on("request", lambda r: seen.requests.append(r.url))
    page.on("console", lambda m: seen.complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: seen.complaints.append(str(e)))
    page.on("dialog", lambda d: (seen.dialogs.append(d.message), d.dismiss()))
    page.goto(path.as_uri() + (f"#{view}" if view else ""))
    return seen


def photograph(seed: int = 0, side: int = 224) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def bump(side: int, seed: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] / (side - 1)
    cy, cx = np.random.default_rng(seed).uniform(0.3, 0.7, 2)
    return np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.04)[None]


IMAGES = 6
METHODS = ("gradcam", "occlusion", "rise")


def gini(image: int, method: int) -> float:
    return (7 * image + 3 * method) % 10 / 10


def maps(image: int) -> list[np.ndarray]:
    return [bump(7, image) * 10.0 ** (image % 3), bump(14, image) - 0.4, bump(28, image)]


def rows() -> Iterator[PictureView]:
    for i in range(IMAGES):
        for backbone in ("resnet", "vgg"):
            cells = [CellView(m if backbone == "resnet" else m**2) for m in maps(i)]
            if i == 1:
                cells[2] = CellView(None, Status.failed, "RuntimeError: boom")
            yield PictureView(
                f"photo {i}.jpg", cells, photograph(i), "", backbone, "predicted", "cat", 3.2, "logit",
                "cat" if i % 2 else "dog", "cat" if i % 3 else "dog", 0.5 + i / 20, bool(i % 2), [(20, 30, 120, 180)],
                values={"gini": [gini(i, m) for m in range(3)], "iou": [0.5, float("nan"), 0.1]},
            )  # fmt: skip


@pytest.fixture(scope="module", params=["single", "folder"])
def study(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    columns = [ColumnView("gradcam", "layer=last", "Where."), ColumnView("occlusion"), ColumnView("rise")]
    values = {name: np.array([gini(i, m) for i in range(IMAGES)]) for m, name in enumerate(METHODS)}
    comparisons = [compared(values, metric="gini", backbone=b, target="predicted") for b in ("resnet", "vgg")]
    view = StudyView(
        "A study", columns, rows(), IMAGES, "xai run study=a", "study: a\n", {"torch": "2"}, (), comparisons,
        [MetricView("gini"), MetricView("iou", False)], [RecipeView("gradcam", "vgg", "predicted", "xai run one")],
    )  # fmt: skip
    return write_page(tmp_path_factory.mktemp("page"), view, form=request.param)


@pytest.fixture
def shown(browser: Browser, study: Path) -> Iterator[Opened]:
    seen = opened(browser, study, view="view=images&grey=true")
    seen.page.wait_for_selector(".row .heat")
    yield seen
    seen.quiet()
    seen.page.context.close()


def style(page: Page, selector: str, name: str) -> str:
    return str(page.eval_on_selector(selector, f"e => getComputedStyle(e).getPropertyValue('{name}')"))


def cell(row: int, column: int) -> str:
    """A picture of the grid: column 0 is the photograph."""
    return f"#rows .row[data-at='{row}'] .cell >> nth={column}"


def ids(page: Page) -> list[str]:
    """Images of the rows on the page, from above."""
    return page.eval_on_selector_all("#rows .row", "all => all.map(r => r.querySelector('.id')?.textContent ?? '-')")


def picture(page: Page, selector: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")).astype(float)


def test_only_rows_in_sight_exist_and_heads_stay(shown: Opened) -> None:
    page = shown.page
    assert 2 <= page.locator("#rows .row").count() < 12
    page.eval_on_selector("#grid", "e => e.scrollTo(0, e.scrollHeight)")
    page.wait_for_selector("#rows .row[data-at='11'] .heat")
    assert page.locator("#rows .row[data-at='0']").count() == 0
    grid, names = page.locator("#grid").bounding_box(), page.locator("#names").bounding_box()
    assert grid is not None
    assert names is not None
    assert names["y"] == pytest.approx(grid["y"], abs=2)
    page.fill("#size", "400")
    page.eval_on_selector("#grid", "e => e.scrollTo(e.scrollWidth, e.scrollTop)")
    first = page.locator("#names .first").bounding_box()
    assert first is not None
    assert first["x"] == pytest.approx(grid["x"], abs=2)


def test_methods_can_be_hidden_and_moved(shown: Opened) -> None:
    page = shown.page
    names = "#names .method"
    page.click("#columns-menu summary")
    page.click("[aria-label='Move rise forward']")
    assert page.locator(names).all_inner_texts() == ["gradcam", "rise", "occlusion"]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Move rise forward"
    page.uncheck("#columns label:has-text('gradcam') input")
    assert page.locator(names).all_inner_texts() == ["rise", "occlusion"]
    page.drag_and_drop("#names .head:has-text('occlusion')", "#names .head:has-text('rise')")
    assert page.locator(names).all_inner_texts() == ["occlusion", "rise"]
    assert page.locator("#rows .row >> nth=0").locator(".cell").count() == 3


def test_one_slider_moves_every_overlay(shown: Opened) -> None:
    page = shown.page
    assert style(page, ".heat", "opacity") == "0.6"
    page.focus("#opacity")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert page.inner_text("#opacity-value") == "55 %"
    opacities = page.eval_on_selector_all(".heat", "all => all.map(e => getComputedStyle(e).opacity)")
    assert set(opacities) == {"0.55"}


def test_holding_space_shows_the_photograph(shown: Opened) -> None:
    page = shown.page
    page.keyboard.down("Space")
    assert style(page, ".heat", "visibility") == "hidden"
    assert style(page, ".cell:not(.first) .photo", "filter") == "none"
    page.keyboard.up("Space")
    assert style(page, ".heat", "visibility") == "visible"
    assert style(page, ".cell:not(.first) .photo", "filter") == "grayscale(1)"


def test_space_still_works_controls(shown: Opened) -> None:
    page = shown.page
    before = page.is_checked("#grey")
    page.focus("#grey")
    page.keyboard.press("Space")
    assert page.is_checked("#grey") != before


def test_pressing_a_picture_shows_the_photograph(shown: Opened) -> None:
    page = shown.page
    page.hover(f"{cell(0, 1)} >> .pic")
    page.mouse.down()
    assert style(page, ".heat", "visibility") == "hidden"
    page.mouse.up()
    assert style(page, ".heat", "visibility") == "visible"


def test_all_pictures_of_a_row_zoom_together(shown: Opened) -> None:
    page = shown.page

    def width(row: int, column: int) -> float:
        box = page.locator(f"{cell(row, column)} >> .zoom").bounding_box()
        assert box is not None
        return box["width"]

    before = width(0, 1)
    page.hover(f"{cell(0, 1)} >> .pic")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    page.wait_for_selector(".row.zoomed")
    assert [width(0, c) for c in range(4)] == pytest.approx([before * np.e] * 4, rel=0.01)
    assert width(1, 1) == pytest.approx(before)
    page.mouse.dblclick(
        *page.eval_on_selector(".row .pic", "e => {const b = e.getBoundingClientRect(); return [b.x + 20, b.y + 20]}")
    )
    assert width(0, 1) == pytest.approx(before)


@pytest.mark.parametrize(("column", "map_"), [(1, maps(0)[0]), (2, maps(0)[1])])
def test_colours_on_the_page_are_the_renderer_s(shown: Opened, column: int, map_: np.ndarray) -> None:
    page = shown.page
    page.fill("#opacity", "100")
    page.fill("#size", "224")
    page.wait_for_selector(".row .heat")
    page.wait_for_timeout(200)
    page.mouse.move(5, 5)
    seen = picture(page, f"{cell(0, column)} >> .pic")
    drawn = np.asarray(Heatmap().render(photograph(), map_, Scale.of(map_))).astype(float)
    seen = seen[: drawn.shape[0], : drawn.shape[1]]  # a picture may begin between two pixels of the screen
    assert seen.shape == drawn.shape
    inner = (slice(8, -8), slice(8, -8))  # rounded corners
    assert np.abs(seen[inner] - drawn[inner]).mean() < 4.0
    assert np.percentile(np.abs(seen[inner] - drawn[inner]), 99) < 20


def test_a_shared_scale_makes_maps_of_a_method_comparable(shown: Opened) -> None:
    page = shown.page
    page.select_option("#scale", "method")

    def gain(row: int, column: int) -> float:
        selector = f"{cell(row, column)} >> .heat"
        return float(page.locator(selector).evaluate("e => e.style.getPropertyValue('--gain')"))

    tops = [maps(i)[0].max() for i in range(IMAGES)]
    assert gain(0, 1) == pytest.approx(tops[0] / max(max(tops), max(tops) ** 2))
    assert page.inner_text("#names .head >> nth=1 >> .ramp").split()[-1] not in ("", "max")
    page.select_option("#scale", "saturated")
    values = np.abs(maps(0)[1])
    assert gain(0, 2) == pytest.approx(values.max() / np.percentile(values, 99), rel=1e-4)
    page.select_option("#scale", "map")
    assert page.inner_text("#names .head >> nth=2 >> .ramp").split()[0] == "−max"


def test_the_reader_may_change_colours_and_size(shown: Opened) -> None:
    page = shown.page
    page.fill("#opacity", "100")
    page.select_option("#colours", label="gray")
    page.mouse.move(5, 5)
    assert np.ptp(picture(page, f"{cell(0, 1)} >> .pic")[8:-8, 8:-8], axis=2).max() <= 3
    assert np.ptp(picture(page, f"{cell(0, 2)} >> .pic")[8:-8, 8:-8], axis=2).max() > 60
    page.fill("#size", "120")
    assert page.locator("#rows .pic").first.bounding_box()["width"] == 120  # type: ignore[index]


def test_the_raw_range_is_always_there(shown: Opened) -> None:
    low, high = (float(v) for v in (maps(0)[1].min(), maps(0)[1].max()))
    assert shown.page.inner_text(f"{cell(0, 2)} >> .line") == f"−{-low:.3g} … {high:.3g}"


def test_a_threshold_cuts_maps_and_scores_them_against_the_truth(shown: Opened) -> None:
    page = shown.page
    page.fill("#threshold", "50")
    page.wait_for_selector("canvas.cut")
    said = page.inner_text(f"{cell(0, 3)} >> .note-line")
    values = np.asarray(Image.fromarray(maps(0)[2][0].astype(np.float32)).resize((224, 224), Image.Resampling.BILINEAR))
    inside, truth = values >= 0.5 * values.max(), np.zeros((224, 224), bool)
    truth[30:180, 20:120] = True
    iou = (inside & truth).sum() / (inside | truth).sum()
    y, x = np.unravel_index(values.argmax(), values.shape)
    assert float(said.split()[1]) == pytest.approx(iou, abs=0.04)
    assert said.endswith("hit" if truth[y, x] else "miss")


def test_the_value_under_the_cursor_is_told_for_every_map(shown: Opened) -> None:
    page = shown.page
    page.fill("#size", "224")
    page.wait_for_selector(".row .heat")
    page.wait_for_timeout(200)
    page.hover(f"{cell(0, 2)} >> .pic", position={"x": 150, "y": 90})
    assert page.inner_text(f"{cell(0, 0)} >> .line") in ("x 150, y 89", "x 150, y 90")
    for column, map_ in enumerate(maps(0), 1):
        said = float(page.inner_text(f"{cell(0, column)} >> .line").removeprefix("≈ ").replace("−", "-"))
        expected = np.asarray(
            Image.fromarray(map_[0].astype(np.float32)).resize((224, 224), Image.Resampling.BILINEAR)
        )[90, 150]
        assert said == pytest.approx(expected, abs=0.04 * np.abs(map_).max())
    page.mouse.move(5, 5)
    assert "…" in page.inner_text(f"{cell(0, 2)} >> .line")


def test_two_methods_can_be_taken_from_each_other(shown: Opened) -> None:
    page = shown.page
    page.select_option("#difference", "method")
    page.select_option("#second", label="rise")
    page.wait_for_selector(f"{cell(0, 1)} >> canvas.heat")
    assert page.inner_text("#names .method >> nth=0") == "gradcam − rise"
    said = page.inner_text(f"{cell(0, 1)} >> .line")
    a, b = (
        np.asarray(Image.fromarray(m[0].astype(np.float32)).resize((112, 112), Image.Resampling.BILINEAR)).ravel()
        for m in (maps(0)[0], maps(0)[2])
    )
    rho = np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1]
    assert float(said.split("ρ ")[1]) == pytest.approx(rho, abs=0.04)  # the pictures are compressed
    page.keyboard.press("Space")
    assert page.inner_text(f"{cell(0, 1)} >> .note-line") == "gradcam"
    page.keyboard.press("Space")
    assert page.inner_text(f"{cell(0, 1)} >> .note-line") == "rise"
    page.keyboard.press("Space")
    assert page.inner_text(f"{cell(0, 1)} >> .note-line") == ""
    assert "failed" in page.inner_text("#rows .row[data-at='2'] .cell >> nth=1")


def test_two_backbones_can_be_taken_from_each_other(shown: Opened) -> None:
    page = shown.page
    page.select_option("#difference", "backbone")
    page.wait_for_selector("#rows .row[data-at='2'] canvas.heat")
    assert "resnet − vgg" in page.inner_text("#rows .row[data-at='2'] .facts")
    assert page.inner_text("#shown") == "12 rows"
    assert "ρ" in page.inner_text(f"{cell(2, 1)} >> .line")


def test_rows_can_be_filtered_and_found(shown: Opened) -> None:
    page = shown.page
    page.select_option("[data-place=backbone]", "vgg")
    assert page.inner_text("#shown") == "6 of 12 rows"
    page.click("#filter-menu summary")
    page.select_option("#filter-correct", "0")
    assert page.inner_text("#shown") == "3 of 12 rows"
    assert page.inner_text("#filter-count") == "1"
    page.fill("#filter-low", "55")
    assert page.inner_text("#shown") == "2 of 12 rows"
    page.fill("#find", "PHOTO 2")
    assert ids(page) == ["photo 2.jpg"]
    page.fill("#find", "no such picture")
    assert page.is_visible("#none")
    page.click("#reset-none")
    assert page.inner_text("#shown") == "12 rows"
    page.click("#filter-menu summary")
    page.select_option("#filter-state", "f")
    assert ids(page) == ["photo 1.jpg"] * 2
    page.click("#reset")
    page.fill("#filter-class", "dog")
    assert page.inner_text("#shown") == "6 of 12 rows"


def test_rows_can_be_filtered_by_a_metric(shown: Opened) -> None:
    page = shown.page
    page.select_option("#metric", label="gini")
    page.wait_for_selector(".row >> nth=0 >> .line:text-is('0')")
    assert page.inner_text(f"{cell(2, 1)} >> .line") == f"{gini(1, 0):.3g}"
    page.click("#filter-menu summary")
    page.fill("#filter-from", "0.9")
    high = [f"photo {i}.jpg" for i in range(IMAGES) if max(gini(i, m) for m in range(3)) >= 0.9]
    assert sorted(set(ids(page))) == high
    page.select_option("#metric", label="iou")
    assert page.is_visible("#none")


def test_rows_can_be_sorted(shown: Opened) -> None:
    page = shown.page
    page.select_option("[data-place=backbone]", "vgg")
    page.select_option("#sort", "probability")
    assert ids(page)[0] == "photo 5.jpg"
    page.click("#direction")
    assert ids(page)[0] == "photo 0.jpg"
    page.click("#direction")
    page.select_option("#sort", "value")
    page.select_option("#sort-method", label="occlusion")
    page.wait_for_timeout(200)
    page.fill("#size", "64")
    best = sorted(range(IMAGES), key=lambda i: -gini(i, 1))
    assert ids(page) == [f"photo {i}.jpg" for i in best]
    page.select_option("#sort", "disagreement")
    assert page.inner_text("#shown") == "6 of 12 rows"


def test_truth_can_be_laid_over_maps(shown: Opened) -> None:
    page = shown.page
    assert page.locator(f"{cell(0, 0)} >> .truth").count() == 1
    assert page.locator(f"{cell(0, 1)} >> .truth").count() == 0
    page.check("#truth")
    assert page.locator(f"{cell(0, 1)} >> .truth").count() == 1
    drawn = page.locator(f"{cell(0, 1)} >> .truth path").get_attribute("d")
    numbers = [float(v) for v in re.findall(r"[\d.]+", drawn or "")]
    assert numbers == pytest.approx([v / 0.224 for v in (20, 30, 120, 180, 20)], abs=0.1)


def test_failures_say_why(shown: Opened) -> None:
    page = shown.page
    assert "RuntimeError: boom" in page.inner_text(cell(2, 3))
    assert page.locator(f"{cell(2, 3)} >> .heat").count() == 0
    page.click("#tab-failures")
    assert page.locator("#failures tbody tr").count() == 2
    page.click("#failures .link >> nth=0")
    assert page.inner_text("#detail-title").startswith("photo 1.jpg")


def test_an_image_opens_with_all_its_maps_and_numbers(shown: Opened) -> None:
    page = shown.page
    page.click("#rows .row[data-at='0'] .id")
    page.wait_for_selector("#detail .row >> nth=1 >> .heat >> nth=0")
    assert page.locator("#detail .row").count() == 2
    assert page.locator("#detail .row >> nth=0").locator(".name").all_inner_texts() == ["Photograph", *METHODS]
    page.wait_for_selector("#detail-values tbody tr")
    assert page.inner_text("#detail-values tbody tr >> nth=0").split() == [
        "gini",
        "↑",
        "resnet",
        "predicted",
        "0",
        "0.3",
        "0.6",
    ]
    assert page.inner_text("#detail-values tbody tr >> nth=2").split()[-3:] == ["0.5", "–", "0.1"]
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#detail-title").startswith("photo 1.jpg")
    page.keyboard.press("Escape")
    assert not page.is_visible("#detail")


def test_the_grid_is_walked_by_keys(shown: Opened) -> None:
    page = shown.page
    at = "(e => `${e.closest('.row')?.dataset.at} ${e.getAttribute('aria-label')}`)(document.activeElement)"
    page.focus("#rows .cell[tabindex='0']")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(at) == "0 gradcam"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("3")
    assert page.evaluate(at) == "1 rise"
    page.keyboard.press("End")
    assert page.evaluate(at) == "11 rise"
    page.keyboard.press("b")
    assert page.inner_text("#basket-count") == "1"
    page.keyboard.press("Enter")
    assert page.inner_text("#detail-title").startswith("photo 5.jpg")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"


def test_the_address_holds_the_view(browser: Browser, shown: Opened, study: Path) -> None:
    page = shown.page
    page.select_option("#sort", "id")
    page.fill("#find", "photo 4")
    page.fill("#opacity", "35")
    page.click("#rows .id >> nth=0")
    again = opened(browser, study, view=page.url.split("#")[1])
    again.page.wait_for_selector("#detail .heat")
    assert again.page.inner_text("#detail-title").startswith("photo 4.jpg")
    assert (again.page.input_value("#find"), again.page.inner_text("#opacity-value")) == ("photo 4", "35 %")
    again.quiet()
    again.page.context.close()


@pytest.mark.parametrize(
    "view", ["size=abc&view=nowhere&image=99&columns=7.x", "metric=9&sort=value&of=50", "%&&=&basket=x.99"]
)
def test_a_wrong_address_harms_nothing(browser: Browser, study: Path, view: str) -> None:
    seen = opened(browser, study, view=view)
    seen.page.click("#tab-images")
    assert seen.page.inner_text("#shown").endswith("rows")
    seen.quiet()
    seen.page.context.close()


def test_the_basket_can_be_taken_along(shown: Opened) -> None:
    page = shown.page
    page.check("#rows .row[data-at='0'] [data-pick]")
    page.check("#rows .row[data-at='2'] [data-pick]")
    page.click("#basket-menu summary")

    def taken(kind: str) -> Path:
        with page.expect_download() as download:
            page.click(f"[data-download={kind}]")
        assert download.value.suggested_filename == f"A-study.{kind}"
        return Path(download.value.path())

    lines = list(csv.DictReader(taken("csv").read_text("utf-8").splitlines()))
    assert [(line["image"], line["backbone"], line["method"]) for line in lines[::3]] == [
        ("photo 0.jpg", "resnet", "gradcam"), ("photo 1.jpg", "resnet", "gradcam"),
    ]  # fmt: skip
    assert [float(line["gini"]) for line in lines] == [gini(i, m) for i in (0, 1) for m in range(3)]
    assert (lines[1]["iou"], lines[5]["status"]) == ("", "failed")
    tex = taken("tex").read_text("utf-8")
    assert tex.startswith("\\begin{tabular}")
    assert "photo 0.jpg & dog & resnet & predicted" in tex
    figure = Image.open(taken("png"))
    assert figure.size == (4 * 232 + 8, 28 + 2 * 232)
    drawn = np.asarray(figure.convert("RGB").crop((240, 28, 464, 252))).reshape(-1, 3)
    assert len(np.unique(drawn, axis=0)) > 500
    page.click("#basket-clear")
    assert page.inner_text("#basket-count") == "0"


def test_the_overview_ranks_and_leads_to_images(browser: Browser, study: Path) -> None:
    seen = opened(browser, study)
    page = seen.page
    assert page.get_attribute("#tab-overview", "aria-selected") == "true"
    assert page.locator("details.metric:visible").count() == 1
    assert "resnet" in page.inner_text("details.metric:visible summary")
    page.select_option("#board-place", "1")
    assert "vgg" in page.inner_text("details.metric:visible summary")
    assert page.locator("svg.diagram:visible text").count() >= 3
    labels = "details.metric:visible tbody th"
    page.click("details.metric:visible th button >> nth=0")
    assert [t.split()[0] for t in page.locator(labels).all_inner_texts()] == sorted(METHODS)
    page.click("details.metric:visible th button >> nth=0")
    assert [t.split()[0] for t in page.locator(labels).all_inner_texts()] == sorted(METHODS, reverse=True)
    values = [gini(i, m) for m in range(3) for i in range(IMAGES)]
    low, high = min(values), max(values)
    best = max(range(IMAGES), key=lambda i: gini(i, 1))
    row = 2 * best + 1  # the second backbone's
    x = 4 + (gini(best, 1) - low) / (high - low) * 184
    page.locator("details.metric:visible tr[data-label=occlusion] canvas").click(
        position={"x": x, "y": 4 + (row * 7919) % 13}
    )
    assert page.inner_text("#detail-title").startswith(f"photo {best}.jpg")
    seen.quiet()
    page.context.close()


@pytest.mark.parametrize("which", ["command", "recipe0"])
def test_commands_can_be_copied(shown: Opened, which: str) -> None:
    page = shown.page
    page.click("#tab-provenance")
    page.click(f"[data-copy={which}]")
    page.wait_for_selector(f"[data-copy={which}]:text-matches('Copied|Selected')")


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_everybody_can_use_it(browser: Browser, study: Path, width: int, scheme: str) -> None:
    """Names, roles, focus and contrast, by the rules of WCAG 2.2 AA that axe-core knows."""
    seen = opened(browser, study, width, scheme)
    page = seen.page
    axe = Axe()
    for part in ("overview", "images", "failures", "provenance", "detail", "help"):
        if part == "detail":
            page.click("#tab-images")
            page.click("#rows .id >> nth=0")
            page.wait_for_selector("#detail .heat")
        elif part == "help":
            page.keyboard.press("Escape")
            page.click("#help-open")
        else:
            page.click(f"#tab-{part}")
            page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, part
        found = axe.run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, f"{part}: {found.generate_report()}"
    seen.quiet()
    page.context.close()


def test_a_small_screen_is_for_the_pictures(browser: Browser, study: Path) -> None:
    """Tabs take one line; settings are folded until they are asked for, what finds images is not."""
    page = opened(browser, study, 390).page
    page.click("#tab-images")
    tops = page.evaluate(
        "[...document.querySelectorAll('.tabs button')].map(e => Math.round(e.getBoundingClientRect().top))"
    )
    assert len(set(tops)) == 1
    assert page.is_visible("#find")
    assert not page.is_visible("#opacity")
    assert page.evaluate("document.getElementById('bar').getBoundingClientRect().height") < 80
    page.click("#fold")
    assert page.is_visible("#opacity")
    assert page.get_attribute("#fold", "aria-expanded") == "true"
    page.click("#fold")
    assert not page.is_visible("#opacity")
    page.context.close()


def test_paper_shows_all_rows(shown: Opened) -> None:
    page = shown.page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_selector("#rows .row >> nth=11", state="attached")
    assert not page.is_visible("#bar")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")


@pytest.mark.parametrize("form", ["single", "folder"])
def test_hostile_texts_never_run(browser: Browser, tmp_path: Path, form: str) -> None:
    def evil() -> Iterator[PictureView]:
        for i, p in enumerate(PAYLOADS):
            cells = [CellView(bump(4, i), Status.ok, p), CellView(None, Status.failed, p)]
            image = photograph(i, 32) if i % 2 else None
            yield PictureView(p, cells, image, p, p, p, p, 1.0, p, p, p, 0.5, True, values={p: [0.5, 0.1]}, run=p)

    columns = [ColumnView("".join(PAYLOADS), "".join(PAYLOADS), "".join(PAYLOADS)), ColumnView(PAYLOADS[0])]
    everything = " ".join(PAYLOADS)
    comparisons = [compared({p: np.arange(5.0) for p in PAYLOADS[:5]}, metric=p, backbone=p) for p in PAYLOADS[:3]]
    view = StudyView(
        everything, columns, evil(), len(PAYLOADS), everything, everything, {everything: everything}, PAYLOADS,
        comparisons, [MetricView(p) for p in PAYLOADS], [RecipeView(p, p, p, p) for p in PAYLOADS],
    )  # fmt: skip
    seen = opened(browser, write_page(tmp_path, view, form=form))  # type: ignore[arg-type]
    page = seen.page
    for part in ("overview", "failures", "provenance", "images"):
        page.click(f"#tab-{part}")
    for menu in page.locator("details.menu > summary").all():
        menu.click()
    page.select_option("[data-place=target]", index=3)
    page.select_option("[data-place=target]", index=0)
    page.select_option("#metric", index=4)
    page.fill("#find", PAYLOADS[2])
    page.hover("#rows .pic >> nth=1")
    page.click("#rows .id >> nth=0")
    page.wait_for_timeout(300)
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    seen.quiet()
    assert page.url.startswith("file:")
    assert page.evaluate("[...document.querySelectorAll('iframe, object, embed, link, base, template')].length") == 0
    page.context.close()


def test_a_missing_photograph_leaves_the_map(browser: Browser, tmp_path: Path) -> None:
    row = PictureView("gone.png", [CellView(bump(7, 0))], missing="the file is gone")
    seen = opened(browser, write_page(tmp_path, StudyView("s", [ColumnView("m")], [row] * 2, 2)))
    seen.page.wait_for_selector(".heat")
    assert "the file is gone" in seen.page.inner_text(cell(0, 0))
    box = seen.page.locator(f"{cell(0, 1)} >> .heat").bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(box["height"])
    assert box["width"] > 100
    seen.quiet()
    seen.page.context.close()


def test_missing_files_are_said(browser: Browser, tmp_path: Path) -> None:
    path = write_page(
        tmp_path, StudyView("s", [ColumnView("m")], [PictureView("a", [CellView(bump(7, 0))])], 1), form="folder"
    )
    next(tmp_path.glob("page-*/rows0.js")).unlink()
    seen = opened(browser, path)
    seen.page.wait_for_selector(".state")
    assert "rows0.js is missing" in seen.page.inner_text(cell(0, 0))
    seen.page.context.close()
