"""Handing out work: claims between processes, workers that die, and what is left to other runs."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xai_framework.cli.run import composed_jobs
from xai_framework.core.status import Status
from xai_framework.executors.drive import Said, drive
from xai_framework.executors.work import MOST_GIVEN_UP, Done, Piece, Pieces, Work, how_it_ended
from xai_framework.plan import Plan, Unit, plan
from xai_framework.registry import Registry
from xai_framework.spec.compose import job_of
from xai_framework.stop import Stop
from xai_framework.store import Claims, failed_block

REGISTRY = Registry()
NOBODY: Counter[int] = Counter()

Usage = namedtuple("Usage", "free")
_HOLD = """
import sys
from pathlib import Path
from xai_framework.store import Claims
claims = Claims(Path(sys.argv[1]))
print([claims.take(name) for name in sys.argv[2:]], flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def studied(*words: str) -> tuple[Plan, list[list[Unit]]]:
    configs = composed_jobs([*words], REGISTRY, [])
    assert configs is not None
    made = plan([job_of(c, REGISTRY) for c in configs], REGISTRY)
    return made, [g.units(g.job.settings.unit) for g in made.groups]


def queue(study: Plan, units: list[list[Unit]], given_up: list[Any] | None = None) -> tuple[Pieces, list[Piece]]:
    work = Work(study, units, (), Path("run"), Stop(), lambda _event: None)
    pieces = work.pieces()
    told = [] if given_up is None else given_up
    made = Pieces(study.groups, pieces, Claims(Path("outputs/store")), lambda p, why: told.append((p, why)))
    return made, pieces


def taken(pieces: Pieces) -> Iterator[Piece]:
    while (piece := pieces.take(None, NOBODY)) is not None:
        yield piece


class Other:
    """Another process that holds claims."""

    def __init__(self, folder: Path, *names: str) -> None:
        command = [sys.executable, "-c", _HOLD, str(folder), *names]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.said = self.process.stdout.readline().strip()

    def die(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


def test_a_claim_holds_until_its_process_ends_in_any_way(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    assert claims.take("a")
    assert claims.take("a")  # one's own may be taken again
    other = Other(tmp_path, "a", "b")
    assert other.said == "[False, True]"
    assert not claims.take("b")
    assert claims.take("c")
    other.die()
    assert claims.take("b")
    claims.close()
    other = Other(tmp_path, "a", "b", "c")
    assert other.said == "[True, True, True]"
    other.die()


def test_each_piece_is_handed_out_once() -> None:
    study, units = studied("dataset.images=10", "unit=4", "method=[gradient,gradcam]")
    pieces, expected = queue(study, units)
    found = list(taken(pieces))
    assert [p.rows for p in found] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert found == expected
    assert not pieces.left


def test_a_worker_keeps_its_backbone_and_a_new_one_takes_the_least_busy() -> None:
    study, units = studied("dataset.images=4", "unit=2", "method=[gradient]", "-m", "backbone=shapes_vgg,shapes_resnet")
    pieces, _ = queue(study, units)
    groups = [
        pieces.take(1, NOBODY),
        pieces.take(None, Counter({1: 1})),
        pieces.take(1, NOBODY),
        pieces.take(1, NOBODY),
    ]
    assert [p.group for p in groups if p] == [1, 0, 1, 0]


def test_what_another_process_is_at_is_left_to_it_until_it_ends() -> None:
    study, units = studied("dataset.images=4", "unit=2", "method=[gradient]")
    pieces, expected = queue(study, units)
    other = Other(Path("outputs/store"), pieces._claim(expected[0]))
    assert [p.rows for p in taken(pieces)] == [(2, 3)]
    assert pieces.left
    pieces.retry_elsewhere()
    assert pieces.take(None, NOBODY) is None
    other.die()
    pieces.retry_elsewhere()
    assert [p.rows for p in taken(pieces)] == [(0, 1)]


def test_what_another_run_has_stored_in_the_meantime_is_not_done_again() -> None:
    study, units = studied("dataset.images=4", "unit=2", "method=[gradient,gradcam]")
    pieces, _ = queue(study, units)
    group = study.groups[0]
    gradient, gradcam = group.cells
    for cell, rows in ((gradient, [0, 1]), (gradcam, [0, 1]), (gradcam, [2, 3])):
        cell.store.write(failed_block(group.manifest.keys(rows), "elsewhere"), {}, {})
    assert [(p.rows, p.cells) for p in taken(pieces)] == [((2, 3), (0,))]


def test_a_lost_piece_is_done_again_method_by_method_and_then_given_up() -> None:
    study, units = studied("dataset.images=2", "method=[gradient,gradcam,edge]")
    given_up: list[tuple[Piece, str]] = []
    pieces, _ = queue(study, units, given_up)
    (whole,) = taken(pieces)
    pieces.lost(whole, "signal SIGSEGV")
    alone = list(taken(pieces))
    assert sorted(p.cells for p in alone) == [(0,), (1,), (2,)]
    assert len({p.number for p in (whole, *alone)}) == 4
    guilty = next(p for p in alone if p.cells == (1,))
    for piece in alone:
        if piece is guilty:
            pieces.lost(piece, "signal SIGSEGV")
        else:
            pieces.finish(piece)
    assert not pieces.left
    assert [(p.cells, why) for p, why in given_up] == [((1,), "its worker died 2 times over it (signal SIGSEGV)")]
    cell = study.groups[0].cells[1].store
    summary = cell.summary(study.groups[0].manifest.keys())
    assert summary.counts == {Status.failed.name: 2}
    assert all("signal SIGSEGV" in why for _, why in summary.failures)


def test_a_method_that_keeps_killing_is_not_tried_on_every_unit() -> None:
    study, units = studied("dataset.images=20", "unit=2", "method=[gradient]")
    given_up: list[tuple[Piece, str]] = []
    pieces, _ = queue(study, units, given_up)
    deaths = 0
    for piece in taken(pieces):
        deaths += 1
        pieces.lost(piece, "signal SIGKILL")
    assert deaths == 2 * MOST_GIVEN_UP
    assert len(given_up) == 10
    assert sum("not tried" in why for _, why in given_up) == 10 - MOST_GIVEN_UP
    assert len(study.groups[0].cells[0].store.rows()) == 20


def test_a_group_that_cannot_be_computed_is_dropped() -> None:
    study, units = studied("dataset.images=4", "unit=2", "method=[gradient]", "-m", "backbone=shapes_vgg,shapes_resnet")
    pieces, _ = queue(study, units)
    pieces.drop(0)
    assert {p.group for p in taken(pieces)} == {1}


@pytest.mark.parametrize(
    ("code", "words"), [(-11, "signal SIGSEGV"), (-9, "signal SIGKILL"), (1, "exit code 1"), (None, "exit code None")]
)
def test_ends_in_words(code: int | None, words: str) -> None:
    assert how_it_ended(code) == words


def test_units_are_blocks_whatever_is_done_and_inserted_rows_are_put_together() -> None:
    study, _ = studied("dataset.images=20", "unit=4", "method=[gradient,gradcam]")
    group = study.groups[0]
    gradient, gradcam = (c.store for c in group.cells)

    def store(cell: Any, rows: list[int]) -> None:
        cell.write(failed_block(group.manifest.keys(rows), "x"), {}, {})

    store(gradient, [0, 1])  # stopped within a unit
    store(gradcam, [0, 1])
    store(gradient, [4, 5, 6, 7])  # stopped between two cells of a unit
    store(gradcam, [8, 9, 11])  # as after row 10 and 13, 14 were inserted
    store(gradient, [8, 9, 11])
    store(gradcam, [12, 15])
    store(gradient, [12, 15])
    found = {u.rows: [group.cells.index(c) for c in u.cells] for u in group.units(4)}
    assert found == {
        (2, 3): [0, 1],
        (4, 5, 6, 7): [1],
        (10, 13, 14): [0, 1],
        (16, 17, 18, 19): [0, 1],
    }


def test_failed_maps_are_tried_again_where_that_is_asked_for() -> None:
    words = ("dataset.images=4", "unit=2", "method=[gradient]")
    study, _ = studied(*words)
    group = study.groups[0]
    group.cells[0].store.write(failed_block(group.manifest.keys(), "x"), {}, {})
    assert studied(*words)[1] == [[]]
    assert [u.rows for u in studied(*words, "retry_failed=true")[1][0]] == [(0, 1), (2, 3)]


def test_a_disk_that_will_be_full_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from xai_framework.executors import drive as module

    study, units = studied("dataset.images=6", "unit=2", "method=[gradient]")
    events: list[dict[str, Any]] = []
    work = Work(study, units, (), Path("run"), Stop(), events.append)
    Path("outputs").mkdir(exist_ok=True)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _path: Usage(free=999_999))

    class Pool:
        """Says that every piece took 100 kB a map."""

        def __init__(self) -> None:
            self.at: Piece | None = None

        def idle(self) -> list[str]:
            return [] if self.at else ["w"]

        def start(self, worker: str, piece: Piece) -> None:
            self.at = piece

        def wait(self, seconds: float) -> list[Said]:
            piece, self.at = self.at, None
            n = len(piece.rows) if piece else 0
            return [Said("w", done=Done(n, n, 0, True, 0.1, 100_000 * n))]

        def ask_to_stop(self) -> None:
            pass

    drive(work, Pool())
    # ten more map sizes to come after two: the other four, and six again when they are merged
    assert [e for e in events if e["event"] == "disk"] == [{"event": "disk", "needed": 1_000_000, "free": 999_999}]
    assert work.outcome.maps == 6


def test_what_another_run_stored_while_this_one_was_loading_is_not_done_again() -> None:
    study, units = studied("method=[gradient]", "dataset.images=4", "unit=2")
    (group,) = study.groups
    first = units[0][0]
    # between planning and the first piece, when Python may import PyTorch for seconds
    group.cells[0].store.write(failed_block(group.manifest.keys(first.rows), "stands for a map"), {}, {})
    pieces, _ = queue(study, units)
    assert [p.rows for p in taken(pieces)] == [units[0][1].rows]
