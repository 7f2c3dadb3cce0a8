"""Runs a study from composed jobs to a page: plan, compute what is missing, merge, record, show."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xai_framework
from xai_framework.core.errors import PluginError
from xai_framework.core.renderer import Renderer
from xai_framework.plan import Cell, Group, Plan, plan
from xai_framework.registry import Registry
from xai_framework.spec import Job
from xai_framework.store import write_run

FAILED = 3
"""Exit code of a run that finished with failed images."""


def run_study(jobs: Sequence[Job], registry: Registry, command: Sequence[str] = ()) -> int:
    """Compute, store and show a study; returns the exit code (0, or 3 where images failed).

    Only what is missing is computed; where nothing is, no model is loaded and torch is not imported.
    """
    settings = jobs[0].settings
    look = renderer(jobs[0], registry) if settings.report else None
    study = plan(jobs, registry)
    work = [(group, group.units(settings.unit)) for group in study.groups]
    total = sum(len(u.rows) for _, units in work for u in units)
    start = time.monotonic()
    if total:
        _announce(study, total)
        _compute(work, registry, total)
    folder = Path(settings.outputs) / "runs" / settings.study
    finish(study, folder, settings.outputs, command, jobs)
    failures = _failures(study)
    if total:
        print(f"computed in {time.monotonic() - start:.1f} s")
    else:
        print("nothing left to compute: every map is stored")
    for line in failures[:10]:
        print(f"failed: {line}", file=sys.stderr)
    if len(failures) > 10:
        print(f"failed: ... {len(failures)} maps in all, see the page", file=sys.stderr)
    print(f"maps: {folder}")
    if look is not None:
        from xai_framework.report import write_report

        print(f"page: {write_report(folder, registry, look, settings.scale)}")
    return FAILED if failures else 0


def renderer(job: Job, registry: Registry) -> Renderer:
    """The renderer of a job. Raises PluginError where it is none."""
    made = registry.build("renderer", job.renderer, "renderer")
    if not isinstance(made, Renderer):
        raise PluginError(f"{job.renderer['name']!r} is no renderer", where="renderer")
    return made


def finish(study: Plan, folder: Path, outputs: str, command: Sequence[str], jobs: Sequence[Job]) -> dict[str, Any]:
    """Merge every finished cell and write the run's record."""
    cells = []
    for group, cell in study.cells:
        merged = cell.store.merge(group.manifest.keys(), group.manifest.key[:12])
        cells.append(
            {
                "label": cell.label,
                "backbone": cell.backbone,
                "target": cell.target,
                "id": cell.store.id,
                "method": dict(cell.method_config),
                "dataset": dict(group.job.dataset),
                "file": str(merged.relative_to(outputs)),
            }
        )
    record = {
        "study": folder.name,
        "command": shlex.join(["xai", "run", *command]),
        "config_yaml": jobs[0].config_yaml,
        "cells": cells,
        "versions": versions(),
    }
    united = write_run(folder, record)
    earlier = len(united["cells"]) - len(cells)
    if earlier > 0:
        labels = sorted({c["label"] for c in united["cells"]} - {c["label"] for c in cells})
        print(
            f"study {folder.name!r} also holds {earlier} cells of earlier commands"
            + (f" ({', '.join(labels)})" if labels else " (other backbones, targets, parameters or images)")
            + "; another study=NAME keeps them apart"
        )
    return record


def versions() -> dict[str, str]:
    """What the results were made with."""
    from importlib.metadata import version

    names = ("torch", "torchvision", "numpy", "pillow", "h5py", "hydra-core")
    return {"xai_framework": xai_framework.__version__, "python": sys.version.split()[0]} | {
        n: version(n) for n in names
    }


def _compute(work: list[tuple[Group, list[Any]]], registry: Registry, total: int) -> None:
    from xai_framework.executors.serial import run_group

    done = 0
    start = time.monotonic()

    def progress(group: Group, images: int) -> None:
        nonlocal done
        done += images
        rate = done / max(1e-9, time.monotonic() - start)
        print(f"{group.backbone}: {done}/{total} images, {rate:.1f} images/s", flush=True)

    for group, units in work:
        if units:
            run_group(group, units, registry, progress)


def _announce(study: Plan, total: int) -> None:
    backbones = len({g.backbone for g in study.groups})
    print(f"{len(study.cells)} cells on {backbones} backbone(s), {total} images to explain", flush=True)


def _failures(study: Plan) -> list[str]:
    """One line for each image that failed in any cell."""
    lines: dict[str, None] = {}
    for group, cell in study.cells:
        for image, reason in cell.store.failures(group.manifest.keys()):
            lines.setdefault(reason if reason.startswith(image) else f"{image}: {reason}")
    return list(lines)


__all__ = ["FAILED", "Cell", "finish", "run_study", "versions"]
