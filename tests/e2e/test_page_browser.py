"""The page in a real browser, opened from disk: what a reader sees and does."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from xai_plugins.renderers.heatmap import Heatmap

from xai_framework.core import Scale, Status
from xai_framework.report.page import PageStyle, write_page
from xai_framework.report.view import CellView, ColumnView, PictureView, StudyView

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


def opened(browser: Browser, path: Path, width: int = 1200, scheme: str = "light") -> Opened:
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
    page.goto(path.as_uri())
    return seen


def photograph(seed: int = 0, side: int = 224) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def bump(side: int, seed: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] / (side - 1)
    cy, cx = np.random.default_rng(seed).uniform(0.3, 0.7, 2)
    return np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.04)[None]


def rows() -> Iterator[PictureView]:
    for i in range(6):
        for backbone in ("resnet", "vgg"):
            cells = [
                CellView(bump(7, i) * 10.0 ** (i % 3)),
                CellView(bump(14, i) - 0.4),
                CellView(None, Status.failed, "RuntimeError: boom") if i == 1 else CellView(bump(28, i)),
            ]
            yield PictureView(
                f"photo {i}.jpg", cells, photograph(i), "", backbone, "predicted", "cat", 3.2, "logit", "cat",
                "cat" if i % 2 else "dog", 0.61, bool(i % 2), [(20, 30, 120, 180)],
            )  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    columns = [ColumnView("gradcam", "layer=last", "Where."), ColumnView("occlusion"), ColumnView("rise")]
    view = StudyView("A study", columns, rows(), 6, "xai run study=a", "study: a\n", {"torch": "2"})
    return write_page(tmp_path_factory.mktemp("page"), view)


@pytest.fixture
def shown(browser: Browser, study: Path) -> Iterator[Opened]:
    seen = opened(browser, study)
    yield seen
    seen.quiet()
    seen.page.context.close()


def style(page: Page, selector: str, name: str) -> str:
    return str(page.eval_on_selector(selector, f"e => getComputedStyle(e).getPropertyValue('{name}')"))


def test_one_slider_moves_every_overlay(shown: Opened) -> None:
    page = shown.page
    assert style(page, ".heat", "opacity") == "0.6"
    page.focus("#opacity")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert page.inner_text("#opacity-value") == "55 %"
    opacities = page.eval_on_selector_all(".heat", "all => all.map(e => getComputedStyle(e).opacity)")
    assert len(opacities) == 34
    assert set(opacities) == {"0.55"}


def test_holding_space_shows_the_photograph(shown: Opened) -> None:
    page = shown.page
    page.keyboard.down("Space")
    assert style(page, ".heat", "visibility") == "hidden"
    assert style(page, ".state", "visibility") == "hidden"
    page.keyboard.up("Space")
    assert style(page, ".heat", "visibility") == "visible"
    assert page.evaluate("scrollY") == 0


def test_space_still_works_controls(shown: Opened) -> None:
    page = shown.page
    before = page.is_checked("#grey")
    page.focus("#grey")
    page.keyboard.press("Space")
    assert page.is_checked("#grey") != before


def test_pressing_a_picture_shows_the_photograph(shown: Opened) -> None:
    page = shown.page
    page.hover("tbody:nth-of-type(2) .pic >> nth=1")
    page.mouse.down()
    assert style(page, ".heat", "visibility") == "hidden"
    page.mouse.up()
    assert style(page, ".heat", "visibility") == "visible"


def picture(page: Page, selector: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")).astype(float)


@pytest.mark.parametrize(("column", "map_"), [(2, bump(7, 0)), (3, bump(14, 0) - 0.4)])
def test_colours_on_the_page_are_the_renderer_s(shown: Opened, column: int, map_: np.ndarray) -> None:
    page = shown.page
    page.evaluate("document.documentElement.style.setProperty('--opacity', 1)")
    page.evaluate("document.documentElement.style.setProperty('--size', '224px')")
    seen = picture(page, f"#row0 .pictures td:nth-child({column}) .pic")
    drawn = np.asarray(Heatmap().render(photograph(), map_, Scale.of(map_))).astype(float)
    assert seen.shape == drawn.shape
    inner = (slice(8, -8), slice(8, -8))  # rounded corners
    assert np.abs(seen[inner] - drawn[inner]).mean() < 3.0
    assert np.percentile(np.abs(seen[inner] - drawn[inner]), 99) < 16


def test_a_shared_scale_makes_maps_of_a_method_comparable(shown: Opened) -> None:
    page = shown.page
    page.select_option("#scale", "method")
    gains = page.eval_on_selector_all(
        ".heat[data-column='0']", "a => a.map(e => Number(e.style.getPropertyValue('--gain')))"
    )
    tops = [bump(7, i).max() * 10.0 ** (i % 3) for i in range(6) for _ in range(2)]
    assert gains == pytest.approx([t / max(tops) for t in tops])
    assert page.inner_text("th[data-column='0'] .high") not in ("", "max")
    page.select_option("#scale", "saturated")
    gain = page.eval_on_selector(".heat[data-column='1']", "e => Number(e.style.getPropertyValue('--gain'))")
    values = np.abs(bump(14, 0) - 0.4)
    assert gain == pytest.approx(values.max() / np.percentile(values, 99))
    page.select_option("#scale", "map")
    assert page.inner_text("th[data-column='1'] .low") == "−max"


def test_the_reader_may_change_colours_and_size(shown: Opened) -> None:
    page = shown.page
    page.evaluate("document.documentElement.style.setProperty('--opacity', 1)")
    page.select_option("#colours", label="gray")
    assert np.ptp(picture(page, "#row0 .pictures td:nth-child(2) .pic")[8:-8, 8:-8], axis=2).max() <= 3
    assert np.ptp(picture(page, "#row0 .pictures td:nth-child(3) .pic")[8:-8, 8:-8], axis=2).max() > 60
    page.fill("#size", "120")
    assert page.locator("#row0 .pic").first.bounding_box()["width"] == 120  # type: ignore[index]


def test_rows_can_be_filtered_and_found(shown: Opened) -> None:
    page = shown.page

    def visible() -> int:
        return page.locator("tbody[id]:visible").count()

    assert visible() == 12
    page.select_option("[data-filter=backbone]", "vgg")
    assert visible() == 6
    page.select_option("[data-filter=correct]", "no")
    assert (visible(), page.inner_text("#shown")) == (3, "3 of 12 rows")
    page.fill("#find", "PHOTO 2")
    assert visible() == 1
    page.fill("#find", "no such picture")
    assert visible() == 0
    page.click("#reset")
    assert visible() == 12


def test_truth_can_be_laid_over_maps(shown: Opened) -> None:
    page = shown.page
    second = "#row0 td:nth-child(2) .truth"
    assert style(page, "#row0 .truth.always", "visibility") == "visible"
    assert style(page, second, "visibility") == "hidden"
    page.check("#truth")
    assert style(page, second, "visibility") == "visible"


def test_heads_stay_in_sight(shown: Opened) -> None:
    page = shown.page
    page.mouse.move(600, 600)
    page.mouse.wheel(0, 1500)
    page.wait_for_function("scrollY > 1000")
    bar, head = page.locator("#bar").bounding_box(), page.locator("th[data-column='0']").bounding_box()
    assert bar is not None
    assert head is not None
    assert bar["y"] == pytest.approx(0, abs=1)
    assert head["y"] == pytest.approx(bar["height"], abs=2)


def test_failures_say_why(shown: Opened) -> None:
    page = shown.page
    assert "RuntimeError: boom" in page.inner_text("#row2 .state")
    assert page.locator("#problems tbody tr").count() == 2
    assert page.locator("#row2 .pictures td:nth-child(4) img").count() == 0


def test_the_command_can_be_copied(shown: Opened) -> None:
    page = shown.page
    page.click("[data-copy=command]")
    page.wait_for_function("['Copied', 'Selected'].includes(document.querySelector('[data-copy=command]').textContent)")


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_readable_and_nothing_sticks_out(browser: Browser, study: Path, width: int, scheme: str) -> None:
    seen = opened(browser, study, width, scheme)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in (".summary", ".key", ".range", ".right", ".wrong", ".state b", ".why", "a", ".bar label", "pre"):
        assert contrast(seen.page, selector) >= 4.5, selector
    seen.quiet()
    seen.page.context.close()


def contrast(page: Page, selector: str) -> float:
    """WCAG contrast of an element's text on the first opaque background behind it."""
    pair = page.eval_on_selector(
        selector,
        """e => {
            const paper = node => getComputedStyle(node).backgroundColor;
            let behind = e;
            while (behind.parentElement && paper(behind).startsWith("rgba")) behind = behind.parentElement;
            return [getComputedStyle(e).color, paper(behind)];
        }""",
    )
    channels = [np.array([float(v) for v in c[c.index("(") + 1 : -1].split(",")[:3]]) / 255 for c in pair]
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in channels]
    low, high = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (high + 0.05) / (low + 0.05)


def test_hostile_texts_never_run(browser: Browser, tmp_path: Path) -> None:
    def evil() -> Iterator[PictureView]:
        for i, p in enumerate(PAYLOADS):
            cells = [CellView(bump(4, i), Status.ok, p), CellView(None, Status.failed, p)]
            picture = photograph(i, 32) if i % 2 else None
            yield PictureView(p, cells, picture, p, p, p, p, 1.0, p, p, p, 0.5, True)

    columns = [ColumnView("".join(PAYLOADS), "".join(PAYLOADS), "".join(PAYLOADS)), ColumnView(PAYLOADS[0])]
    everything = " ".join(PAYLOADS)
    view = StudyView(
        everything, columns, evil(), len(PAYLOADS), everything, everything, {everything: everything}, PAYLOADS
    )
    seen = opened(browser, write_page(tmp_path, view))
    page = seen.page
    for details in page.locator("summary").all():
        details.click()
    page.hover("thead th >> nth=1")
    page.select_option("[data-filter=target]", index=3)
    page.fill("#find", PAYLOADS[2])
    page.wait_for_timeout(300)
    seen.quiet()
    assert page.locator("script").count() == 1
    assert page.url.startswith("file:")
    page.context.close()


def test_a_single_image_is_shown_large(browser: Browser, tmp_path: Path) -> None:
    cells = [CellView(bump(7, i)) for i in range(3)]
    columns = [ColumnView(n) for n in ("one", "two", "three")]
    view = StudyView("dog.png", columns, [PictureView("dog.png", cells, photograph())], 1)
    seen = opened(browser, write_page(tmp_path, view, PageStyle(opacity=0.5)))
    boxes = [b.bounding_box() for b in seen.page.locator(".pic").all()]
    assert [b["width"] for b in boxes if b] == [256] * 4
    assert [n.inner_text() for n in seen.page.locator(".name:visible").all()] == ["Photograph", "one", "two", "three"]
    assert style(seen.page, ".heat", "opacity") == "0.5"
    seen.quiet()
    seen.page.context.close()


def test_a_missing_photograph_leaves_the_map(browser: Browser, tmp_path: Path) -> None:
    row = PictureView("gone.png", [CellView(bump(7, 0))], missing="the file is gone")
    seen = opened(browser, write_page(tmp_path, StudyView("s", [ColumnView("m")], [row] * 2, 2)))
    assert "the file is gone" in seen.page.inner_text("#row0")
    box = seen.page.locator("#row0 .heat").bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(box["height"])
    assert box["width"] > 100
    seen.quiet()
    seen.page.context.close()
