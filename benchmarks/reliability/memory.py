"""Rows 15, 16 and 28: too little memory, and many images."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability.lab import Lab, Row
from benchmarks.reliability.launch import run
from benchmarks.reliability.study import acknowledged, events, hold, largest_difference, lost, study

ALIKE = 1e-5
"""How far maps may be apart, relative to the largest value, where they were computed in passes of other sizes."""


def _batches(lab: Lab) -> None:
    """Any pass of more than b rows runs out of memory."""
    known = study("unit=32", "batch=32", images=32, methods=("gradient", "gradcam", "smoothgrad")).undisturbed(
        lab.new()
    )
    for b in range(1, 33) if lab.full else (1, 5, 32):
        with lab.case(f"{b} rows fit") as folder:
            ended = run(folder, known.argv, lambda b=b: _no_more_than(b))  # type: ignore[misc]
            hold(ended.code == 0, f"exit code {ended.code}: {ended.said[-800:]}")
            told = [(e.get("method"), e["rows_in_a_pass"]) for e in events(folder, "out_of_memory")]
            hold(len(told) == len(set(told)), f"told more than once: {told}")
            hold(bool(told) == (b < 32), f"told {told} although {b} rows fit")
            lab.most("told", len(told))
            far = lab.most("difference", largest_difference(known.folder, folder))
            hold(far <= ALIKE, f"maps differ by {far:g}")
            hold("nothing left" in run(folder, known.argv).said, "the next run computed something")
    lab.note(f"maps differ by at most {lab.of('difference'):.1e}; at most {lab.of('told'):.0f} remarks a run")


def _no_more_than(rows: int) -> None:
    import torch

    from xai_framework.core.adapter import ModelAdapter

    real = ModelAdapter.forward

    def forward(self: ModelAdapter, inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) > rows:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {len(inputs)} rows")
        return real(self, inputs)

    ModelAdapter.forward = forward  # type: ignore[method-assign]


def _address_space(lab: Lab) -> None:
    """The system gives no more memory than so much."""
    known = study("unit=16", "batch=16", images=16, methods=("gradient", "gradcam")).undisturbed(lab.new())
    for k in range(lab.count(10, 3)):
        spare = int((4 + 200 * (k / lab.count(10, 3)) ** 2) * (1 << 20))
        with lab.case(f"{spare >> 20} MiB more than at the start") as folder:
            ended = run(folder, known.argv, _limit(spare))
            # libraries crash where they cannot have the least memory: then nothing may be lost or wrong
            hold("hung" not in ended.said, "it hangs")
            lab.add(f"exit code {ended.code}" if ended.code >= 0 else "died of a signal")
            before = acknowledged(folder)
            again = run(folder, (*known.argv, "retry_failed=true"))
            hold(again.code == 0, f"the second run ended with {again.code}: {again.said[-800:]}")
            hold(not lost(before), "an acknowledged result is lost")
            far = lab.most("difference", largest_difference(known.folder, folder))
            hold(far <= ALIKE, f"maps differ by {far:g}")
    lab.note(", ".join(f"{lab.of(k):.0f} times {k}" for k in lab.notes() if k.startswith(("exit", "died"))))


def _limit(spare: int) -> Callable[[], None]:
    def act() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare,) * 2)

    return act


CHEAP = ("gradient", "input_x_gradient", "gradcam", "hirescam", "layercam", "xgradcam")


def _soak(lab: Lab) -> None:
    """Many images: memory, open files and hooks stay what they are."""
    images = lab.count(10_000, 320)
    with lab.case(f"{images} images") as folder:
        many = study("unit=32", images=images, methods=CHEAP)
        ended = run(folder, many.argv, _watch, seconds=3000)
        hold(ended.code == 0, f"exit code {ended.code}: {ended.said[-800:]}")
        line = next(ln for ln in ended.said.splitlines() if ln.startswith("SEEN "))
        seen = json.loads(line.removeprefix("SEEN "))
        settled = seen[len(seen) // 5 :]
        slope = _slope([(32 * s[0], s[1]) for s in settled]) * 1000
        lab.note(f"{images} images, {6 * images} maps in {ended.seconds:.0f} s")
        lab.note(f"{slope:+.2f} MB resident memory for each 1,000 images, {seen[-1][1]:.0f} MB at the end")
        lab.note(f"open files {min(s[2] for s in settled)} to {max(s[2] for s in settled)}, hooks {seen[-1][3]}")
        hold(not lab.full or slope < 1, f"memory grows by {slope:.2f} MB per 1,000 images")
        hold(len({s[2] for s in settled}) == 1, f"open files: {sorted({s[2] for s in settled})}")
        hold(len({s[3] for s in seen}) == 1, f"hooks: {sorted({s[3] for s in seen})}")


def _watch() -> None:
    """After each unit note (number, resident MB, open files, hooks); print all at the end."""
    import os

    from xai_framework import engine
    from xai_framework import study as studies

    seen: list[tuple[int, float, int, int]] = []
    real, finish = engine.Engine.run, studies.finish

    def then(self: engine.Engine, *args: object) -> object:
        ran = real(self, *args)  # type: ignore[arg-type]
        megabytes = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
        hooks = sum(len(m._forward_hooks) + len(m._backward_hooks) for m in self.adapter.model.modules())
        seen.append((len(seen), megabytes, len(os.listdir("/proc/self/fd")), hooks))  # noqa: PTH208 - no more objects
        return ran

    def told(*args: object, **kwargs: object) -> object:
        print("SEEN", json.dumps(seen), file=sys.stderr, flush=True)
        return finish(*args, **kwargs)  # type: ignore[arg-type]

    engine.Engine.run = then  # type: ignore[method-assign,assignment]
    studies.finish = told  # type: ignore[assignment]


def _slope(points: list[tuple[float, float]]) -> float:
    n = len(points)
    mx, my = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    return sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)


ROWS = (
    Row(
        "15",
        "memory runs out in every pass of more than b rows, b = 1 .. 32",
        f"the same maps (within {ALIKE:g} of the largest value), said once for each method and size",
        _batches,
    ),
    Row(
        "16",
        "the system refuses memory beyond a limit (RLIMIT_AS)",
        "the run ends, at worst killed; nothing stored is lost or wrong; without the limit the same maps",
        _address_space,
    ),
    Row(
        "28",
        "a long run: 10,000 images, six methods",
        "less than 1 MB of memory for each 1,000 images; open files and hooks constant",
        _soak,
    ),
)
