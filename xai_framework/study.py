"""Runs a study from composed jobs to a page: plan, compute what is missing, merge, record, show."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xai_framework
from xai_framework import gate
from xai_framework.core.errors import PluginError, XaiError
from xai_framework.core.executor import Executor
from xai_framework.core.renderer import Renderer
from xai_framework.events import Event, EventLog
from xai_framework.executors.work import Work
from xai_framework.identity import differing
from xai_framework.plan import Cell, Group, MetricCell, Plan, Unit, merged_name, plan
from xai_framework.progress import Display
from xai_framework.registry import Registry
from xai_framework.spec import Job
from xai_framework.spec.job import Settings
from xai_framework.stop import RESUMABLE, Interrupted, Stop
from xai_framework.store import RECORD, check_writable, read_run, write_run

FAILED, STOPPED = 3, 4
"""Exit codes of a run that finished with failed images, and of one that its own policy stopped."""


def run_study(
    jobs: Sequence[Job], registry: Registry, command: Sequence[str] = (), plugin_files: Sequence[str] = ()
) -> int:
    """Compute, store and show a study; returns the exit code: 0, 3 where images failed, 4 where ``on_error`` or
    ``max_failures`` stopped it, 75 where a signal did.

    Only what is missing is computed; where nothing is, no model is loaded and torch is not imported.
    """
    stop = Stop()
    try:
        # computing stops at safe points; planning, merging and drawing may be broken off anywhere
        with stop.on_signals(anywhere=True):
            return _run(jobs, registry, command, plugin_files, stop)
    except (Interrupted, Exception) as error:
        if not (isinstance(error, Interrupted) or stop.broken_off):
            raise
        print(f"stopped by {stop.reason}; the same command goes on from here", file=sys.stderr)
        return RESUMABLE


def _run(
    jobs: Sequence[Job], registry: Registry, command: Sequence[str], plugin_files: Sequence[str], stop: Stop
) -> int:
    settings = jobs[0].settings
    look = renderer(jobs[0], registry) if settings.report else None
    executor = registry.build("executor", jobs[0].executor, "executor")
    if not isinstance(executor, Executor):
        raise PluginError(f"{jobs[0].executor['name']!r} is no executor", where="executor")
    by_precision = gate.resolved(jobs, registry, stop)
    for line in gate.words([*by_precision.decisions.values()]):
        print(line, flush=True)
    study = plan(by_precision.jobs, registry, manifests=by_precision.manifests)
    folder = Path(settings.outputs) / "runs" / settings.study
    computed = False
    for phase in (Plan(study.groups), Plan(study.judged)):
        units = [group.units(settings.unit) for group in phase.groups]
        if any(units):
            check_writable(Path(settings.outputs) / "store")  # said now rather than after the first unit
            _announce(phase, units, tuple(dict.fromkeys(label for job in jobs for label in job.controls)))
            work = Work(phase, units, tuple(plugin_files), folder, stop, tell=lambda _event: None)
            _compute(work, executor, str(jobs[0].executor["name"]))
            if stop.asked:
                return _stopped(work)
            computed = True
        for group, cell in phase.cells:  # metrics read merged maps
            cell.store.merge(group.manifest.keys(), merged_name(group.manifest))
    finish(study, folder, settings.outputs, command, jobs, by_precision.decisions)
    failures = _failures(Plan((*study.groups, *study.judged)))
    if not computed:
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


def _stopped(work: Work) -> int:
    """Says why and how to go on; the exit code."""
    by_policy = work.stop.reason.startswith(("on_error", "max_failures"))
    if by_policy:
        print(f"stopped by {work.stop.reason}", file=sys.stderr)
        for line in _failures(work.plan)[:10]:
            print(f"failed: {line}", file=sys.stderr)
    print(f"stored so far: {work.outcome.maps} maps; the same command goes on from here", file=sys.stderr)
    return STOPPED if by_policy else RESUMABLE


def renderer(job: Job, registry: Registry) -> Renderer:
    """The renderer of a job. Raises PluginError where it is none."""
    made = registry.build("renderer", job.renderer, "renderer")
    if not isinstance(made, Renderer):
        raise PluginError(f"{job.renderer['name']!r} is no renderer", where="renderer")
    return made


def finish(
    study: Plan,
    folder: Path,
    outputs: str,
    command: Sequence[str],
    jobs: Sequence[Job],
    decisions: Mapping[tuple[str, str], gate.Decision],
) -> dict[str, Any]:
    """Write the run's record, whose cells are all merged; with what was decided of their precision, in that order."""
    order = {key: place for place, key in enumerate(decisions)}
    planned = sorted(study.cells, key=lambda at: order.get(_decided(*at), -1))
    cells = [_recorded(group, cell, outputs) for group, cell in planned]
    for facts, at in zip(cells, planned, strict=True):
        if decision := decisions.get(_decided(*at)):
            facts["gate"] = gate.facts(decision)
    values = [_recorded(group, cell, outputs) for group, cell in Plan(study.judged).cells]
    record = {
        "study": folder.name,
        "command": shlex.join(["xai", "run", *command]),
        "config_yaml": jobs[0].config_yaml,
        "cells": cells,
        "values": values,
        "versions": versions(),
    }
    for line in _changed(folder, cells):
        print(line)
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


def _decided(group: Group, cell: Cell) -> tuple[str, str]:
    """What a decision of precision is found by."""
    return cell.store.id, group.manifest.key


def _recorded(group: Group, cell: Cell, outputs: str) -> dict[str, Any]:
    """A cell as the run's record has it."""
    merged = cell.store.merged_path(merged_name(group.manifest))
    facts: dict[str, Any] = {
        "label": cell.label,
        "backbone": cell.backbone,
        "target": cell.target,
        "id": cell.store.id,
        "method": dict(cell.method_config),
        "dataset": dict(group.job.dataset),
        "recipe": _recipe(group.job, cell),
        "file": str(merged.relative_to(outputs)),
    }
    if cell.control:
        facts["control"] = True
    if isinstance(cell, MetricCell):
        facts |= {"metric": cell.metric, "measure": dict(cell.metric_config)}
    return facts


def _recipe(job: Job, cell: Cell) -> dict[str, Any]:
    """What a cell depends on besides its method; settings that have their defaults are left out."""
    usual = Settings()
    settings = {k: getattr(job.settings, k) for k in ("seed", "space", "untrained", "precision", "batch")}
    changed = {k: v for k, v in settings.items() if v != getattr(usual, k)}
    plugins = {"dataset": job.dataset, "backbone": job.backbone, "target": cell.target_config}
    return {kind: dict(config) for kind, config in plugins.items()} | changed


def _changed(folder: Path, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells a cell from an earlier one of the same label, backbone and target in the same study."""
    earlier = read_run(folder)["cells"] if (folder / RECORD).is_file() else []
    known = {c["id"] for c in earlier}
    lines = []
    for cell in cells:
        same = [c for c in earlier if all(c.get(k) == cell[k] for k in ("label", "backbone", "target", "dataset"))]
        if same and cell["id"] not in known:
            before, now = differing([same[-1].get("method", {}), cell["method"]])
            what = (
                f"{before} before, {now} now"
                if before or now
                else "its code, its weights, the seed or the precision is another"
            )
            lines.append(f"{cell['label']} on {cell['backbone']}: {what}; the earlier maps are kept as well")
    return lines


def versions() -> dict[str, str]:
    """What the results were made with."""
    from importlib.metadata import version

    names = ("torch", "torchvision", "numpy", "pillow", "h5py", "hydra-core")
    return {"xai_framework": xai_framework.__version__, "python": sys.version.split()[0]} | {
        n: version(n) for n in names
    }


def _compute(work: Work, executor: Executor, name: str) -> None:
    """Run the executor and show how it goes. Raises XaiError as executors do, after the others' results are stored."""
    start = time.monotonic()
    log = EventLog(work.folder)
    with Display() as display, work.stop.on_signals():

        def tell(event: Event) -> None:
            log(event)
            display(event)

        work.tell = tell
        total = [u for units in work.units for u in units]
        counts = {
            "units": len(total),
            "images": sum(len(u.rows) for u in total),
            "maps": sum(len(u.rows) * len(u.cells) for u in total),
        }
        tell({"event": "run", "study": work.folder.name, "executor": name, **counts})
        try:
            executor.run(work)
        except XaiError as error:
            tell({"event": "end", "how": f"error: {error}"})
            raise
        tell({"event": "end", "how": f"stopped: {work.stop.reason}" if work.stop.asked else "finished"})
        log.close()
    print(f"{'stopped after' if work.stop.asked else 'computed in'} {time.monotonic() - start:.1f} s")


def _announce(study: Plan, units: Sequence[Sequence[Unit]], controls: Sequence[str]) -> None:
    backbones = len({g.backbone for g in study.groups})
    if isinstance(study.cells[0][1], MetricCell):
        print(f"{len(study.cells)} metrics of maps", flush=True)
        return
    images = sum(len(u.rows) for group in units for u in group)
    print(f"{len(study.cells)} cells on {backbones} backbone(s), {images} images to explain", flush=True)
    if controls:
        print(f"among them the controls {', '.join(controls)} (controls=[] leaves them out)", flush=True)


def _failures(study: Plan) -> list[str]:
    """One line for each image that failed in any cell."""
    lines: dict[str, None] = {}
    for group, cell in study.cells:
        for image, reason in cell.store.failures(group.manifest.keys()):
            lines.setdefault(reason if reason.startswith(image) else f"{image}: {reason}")
    return list(lines)
