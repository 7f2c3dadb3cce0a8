"""What a method takes is known as if it had been alone, though passes are shared; and no result depends on it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import xai_framework as xai
from xai_framework.cli.main import main
from xai_framework.meter import Counts, Spent
from xai_framework.store import COST, open_cell
from xai_framework.store.cost import cost_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one; moved by hand."""
    now = [0.0]
    monkeypatch.setattr("xai_framework.meter.time.perf_counter", lambda: now[0])
    return now


def test_each_user_pays_a_shared_pass_once(clock: list[float]) -> None:
    counts = Counts()
    with counts.shared() as clean:  # before any method: the engine's own
        counts.add(forward=8)
        clock[0] += 1
    with counts.used_by("a"):
        counts.use(clean)
        counts.use(clean)
        clock[0] += 10
        with counts.shared() as back:
            counts.add(backward=8)
            clock[0] += 2
    with counts.used_by("b"):
        counts.use(back)
        counts.add(forward=3)
        clock[0] += 20
    with counts.used_by("c"):
        clock[0] += 5
    assert counts.spent == {"a": Spent(8, 8, 13.0), "b": Spent(3, 8, 22.0), "c": Spent(0, 0, 5.0)}
    assert (counts.forward, counts.backward) == (11, 8)


def test_a_pass_that_fails_is_paid_by_whoever_asked(clock: list[float]) -> None:
    counts = Counts()

    def fails() -> None:
        with counts.used_by("a"), counts.shared():
            counts.add(forward=4)
            clock[0] += 3
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    with counts.used_by("b"):
        counts.add(forward=1)
    assert counts.spent == {"a": Spent(4, 0, 3.0), "b": Spent(1, 0, 0.0)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(study: str, *methods: str) -> xai.Run:
    words = ["dataset.images=5", "unit=3", "report=false", f"method=[{','.join(methods)}]", f"study={study}"]
    words += [f"outputs={study}", "metric=[gini]", "controls=[]"]
    if "smoothgrad" in methods:
        words.append("method.smoothgrad.samples=4")
    assert main(["run", *words]) == 0
    return xai.open_run(f"{study}/runs/{study}")


def test_passes_are_those_of_a_method_by_itself(folder: Path) -> None:
    together = run("together", "gradient", "gradcam", "smoothgrad", "random", "layercam")
    costs = {label: maps.cost for label, maps in together.items()}
    assert {k: (c.images, c.forward, c.backward) for k, c in costs.items() if c} == {
        "gradient": (5, 1, 1),
        "gradcam": (5, 1, 1),
        "layercam": (5, 1, 1),
        "smoothgrad": (5, 4, 4),
        "random": (5, 0, 0),
    }
    assert all(c is not None and 0 < c.seconds < 60 for c in costs.values())
    alone = run("alone", "gradcam")
    assert alone["gradcam"].cost is not None
    assert (alone["gradcam"].cost.forward, alone["gradcam"].cost.backward) == (1, 1)
    (row,) = [r for r in xai_rows(together) if r["method"] == "smoothgrad"]
    assert (row["forward"], row["backward"], row["passes"]) == (4, 4, 8)
    assert row["seconds"] == costs["smoothgrad"].seconds  # type: ignore[union-attr]
    # the same bytes, whatever it took
    file = together["gradcam"].path
    assert file.read_bytes() == (alone["gradcam"].path).read_bytes()


def xai_rows(stored: xai.Run) -> list[dict[str, object]]:
    from xai_framework.statistics import leaderboard

    return list(leaderboard(stored).rows())


def test_what_was_noted_outlives_compacting_and_its_absence_is_no_error(folder: Path) -> None:
    stored = run("kept", "gradient")
    cell = stored["gradient"].path.parent
    before = cost_of(cell / "shards")
    assert before is not None
    assert open_cell(cell).compact() > 0
    assert len(list((cell / "shards").glob("*.h5"))) == 1
    assert cost_of(cell / "shards") == before
    (note,) = (cell / "shards").glob("*.json")
    for text in ("", "[]", '{"cost": {}}', '{"cost": {"images": 1, "forward": -1, "backward": 0, "seconds": 0}}'):
        note.write_text(text)
        assert stored["gradient"].cost is None
    note.write_text(json.dumps({COST: {"images": 1, "forward": 10**400, "backward": 0, "seconds": 0}}))
    assert stored["gradient"].cost is None
    note.unlink()
    (row,) = xai_rows(stored)
    assert math.isnan(float(str(row["passes"])))
    assert main(["table", "kept/runs/kept"]) == 0
