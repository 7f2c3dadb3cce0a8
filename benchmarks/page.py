"""The page with very many images, in a real browser: ``python -m benchmarks.page [--images 1000 10000]``.

Pages of generated studies of 20 methods and 10 metrics. 500 different thumbnails are used again and again, since
encoding is not what is measured here. Prints first paint, the first row with all its maps, what interactions take until
the next frame is drawn, sizes, and the time and memory that writing took.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from xai_framework.report import rows as report_rows
from xai_framework.report.page import write_page
from xai_framework.report.thumbnails import map_address, photograph_address
from xai_framework.report.view import CellView, ColumnView, MetricView, PictureView, StudyView

METHODS, METRICS, DISTINCT = 20, 10, 500

_FRAME = """async act => {
    const before = performance.now();
    act();
    await new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));
    return performance.now() - before;
}"""

_SET = (
    "() => {{ const e = document.getElementById('{}'); e.value = {}; "
    "e.dispatchEvent(new Event('{}', {{bubbles: true}})); }}"
)

INTERACTIONS = {
    "opacity slider": _SET.format("opacity", "30 + 40 * Math.random()", "input"),
    "size slider": _SET.format("size", "100 + 60 * Math.random()", "input"),
    "threshold slider": _SET.format("threshold", "20 + 60 * Math.random()", "input"),
    "threshold off": _SET.format("threshold", "0", "input"),
    "scroll anywhere": (
        "() => { const e = document.getElementById('grid'); e.scrollTop = Math.random() * e.scrollHeight; }"
    ),
    "scroll one row": "() => { document.getElementById('grid').scrollBy(0, 200); }",
    "sort by confidence": _SET.format("sort", "'probability'", "change"),
    "sort by disagreement": _SET.format("sort", "'disagreement'", "change"),
    "find": _SET.format("find", "'7' + Math.floor(10 * Math.random())", "input"),
    "find nothing": _SET.format("find", "''", "input"),
    "colours": _SET.format("colours", "e.options[Math.floor(6 * Math.random())].value", "change"),
    "open an image": "() => { document.querySelector('#rows .id').click(); }",
    "next image": "() => { document.getElementById('detail-after').click(); }",
    "close it": "() => { document.getElementById('detail-close').click(); }",
}


def _rows(images: int, maps: list[np.ndarray[Any, Any]], photographs: list[Image.Image]) -> Iterator[PictureView]:
    rng = np.random.default_rng(0)
    for i in range(images):
        values = rng.random((METRICS, METHODS)).round(4)
        yield PictureView(
            id=f"image {i:06d}",
            cells=[CellView(maps[(i * METHODS + m) % DISTINCT]) for m in range(METHODS)],
            photograph=photographs[i % len(photographs)],
            backbone="backbone",
            target="predicted",
            explained=f"class {i % 100}",
            score=1.0,
            label=f"class {i % 100}",
            prediction=f"class {i % 97}",
            probability=float(rng.random()),
            correct=bool(i % 2),
            boxes=[(20.0, 20.0, 100.0, 90.0)],
            values={f"metric {k}": values[k].tolist() for k in range(METRICS)},
        )


def build(folder: Path, images: int) -> float:
    """Write the page; seconds it took."""
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((1, 14, 14)) for _ in range(DISTINCT)]
    small = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(50)]
    photographs = [p.resize((128, 128), Image.Resampling.BICUBIC) for p in small]
    view = StudyView(
        f"{images:,} images",
        [ColumnView(f"method {m}", "samples=50", "What it does.") for m in range(METHODS)],
        _rows(images, maps, photographs),
        images,
        metrics=[MetricView(f"metric {k}") for k in range(METRICS)],
    )
    known: dict[Any, str] = {}

    def once(make: Callable[..., str], picture: Any, key: object, *args: Any) -> str:
        if key not in known:
            known[key] = make(picture, *args)
        return known[key]

    started = time.monotonic()
    with (
        patch.object(report_rows, "map_address", lambda m, *args: once(map_address, m, m.tobytes(), *args)),
        patch.object(report_rows, "photograph_address", lambda p, *args: once(photograph_address, p, id(p), *args)),
    ):
        write_page(folder, view, most_images=None)
    return time.monotonic() - started


def measure(page: Page, address: str) -> dict[str, float]:
    """Milliseconds, medians of repeated interactions."""
    page.goto(address)
    page.wait_for_selector("#rows .row .heat")
    times = page.evaluate("[performance.getEntriesByName('first-contentful-paint')[0].startTime, performance.now()]")
    found = {"first paint": times[0], "first maps": times[1]}
    for name, act in INTERACTIONS.items():
        once = 1 if name.startswith(("sort", "threshold off", "find nothing", "open", "close")) else 7
        found[name] = median(page.evaluate(f"async () => ({_FRAME})({act})") for _ in range(once))
        page.wait_for_timeout(150)
    return found


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as root:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for images in args.images:
            folder = Path(root) / str(images)
            seconds = build(folder, images)
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
            index = (folder / "index.html").stat().st_size / 1e6
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            found = measure(page, (folder / "index.html").as_uri())
            page.close()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            results[images] = found | {"write s": seconds, "MB": size, "index MB": index, "peak MB": peak}
        browser.close()
    if args.json:
        print(json.dumps(results, indent=1))
        return
    heads = list(results)
    print(f"{'':24}" + "".join(f"{n:>10,} x {METHODS}" for n in heads))
    for name in results[heads[0]]:
        print(f"{name:24}" + "".join(f"{results[n][name]:>15.1f}" for n in heads))


if __name__ == "__main__":
    main()
