"""``xai plan`` and ``xai run --dry-run``: what a run would do and cost. Asks nothing, changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xai_framework.gate import Resolved, resolved, words
from xai_framework.plan import Group, MetricCell, Plan, Unit, plan
from xai_framework.progress import duration


@dataclass(frozen=True)
class GroupCost:
    """One backbone on one dataset. Times are in seconds on one worker, memory and disk in bytes; disk is an upper
    bound, as if every map were as large as the input.
    """

    backbone: str
    images: int
    cells: int
    maps: int
    missing: int
    units: int
    passes: int
    passes_alone: int
    seconds: float
    memory: int
    disk: int


def plan_command(argv: Sequence[str]) -> int:
    """Everything behind ``xai plan``; returns the exit code."""
    from xai_framework.cli.run import composed_jobs, local_plugins
    from xai_framework.registry import Registry
    from xai_framework.spec.compose import job_of

    as_json = "--json" in argv
    arguments, files = local_plugins([a for a in argv if a not in ("--json", "--dry-run")])
    registry = Registry(files)
    with TemporaryDirectory() as nowhere:  # Hydra notes every sweep in a file
        sweeps = [f"hydra.sweep.dir={nowhere}"] if {"-m", "--multirun"} & set(arguments) else []
        configs = composed_jobs([*arguments, *sweeps], registry, files)
    if configs is None:
        return 0
    jobs = [job_of(c, registry) for c in configs]
    by_precision = resolved(jobs, registry, keep_manifests=False)
    study = plan(by_precision.jobs, registry, keep_manifests=False, manifests=by_precision.manifests)
    groups = (*study.groups, *study.judged)
    costs = [_cost(group, group.units(group.job.settings.unit), registry) for group in groups]
    outputs = Path(jobs[0].settings.outputs)
    if as_json:
        cells = [c.store.id for _, c in study.cells]
        facts = {"study": jobs[0].settings.study, "cells": cells, "groups": [asdict(c) for c in costs]}
        if by_precision.decisions:
            facts["undecided"] = [asdict(d) for d in by_precision.undecided]
        print(json.dumps(facts))
    else:
        controls = dict.fromkeys(label for job in jobs for label in job.controls)
        if controls:
            print(f"with the controls {', '.join(controls)} (controls=[] leaves them out)")
        _show(study, costs, outputs)
        for line in _about_precision(by_precision):
            print(line)
    return 0


def _about_precision(found: Resolved) -> list[str]:
    """What ``precision: auto`` comes to, as far as it is decided."""
    lines = words([d for d in found.decisions.values() if d.record])
    if found.undecided:
        names = ", ".join(dict.fromkeys(d.method for d in found.undecided))
        count = len(found.undecided)
        lines.append(
            f"the precision of {count} cell{'s' * (count > 1)} ({names}) is decided when the study first runs; planned "
            "as float32"
        )
    return lines


def _cost(group: Group, units: Sequence[Unit], registry: Any) -> GroupCost:  # noqa: ANN401 - a Registry
    images, cells = len(group.manifest.rows), len(group.cells)
    judged = isinstance(group.cells[0], MetricCell)
    name = f"metrics on {group.backbone}" if judged else group.backbone
    missing = sum(len(u.rows) * len(u.cells) for u in units)
    if not units:
        return GroupCost(name, images, cells, images * cells, 0, 0, 0, 0, 0.0, 0, 0)
    from xai_framework.executors.probing import probe_batch

    probed = probe_batch(group, units, registry)
    floats = (1 if judged else probed.input_values) * 4 + 600  # what a row holds beside its map
    return GroupCost(
        name,
        images,
        cells,
        images * cells,
        missing,
        len(units),
        probed.passes,
        probed.passes_alone,
        probed.seconds,
        probed.memory,
        missing * floats,
    )


def _show(study: Plan, costs: Sequence[GroupCost], outputs: Path) -> None:
    for cost in costs:
        print(f"{cost.backbone}: {cost.images:,} images x {cost.cells} cells, ", end="")
        if not cost.missing:
            print("all stored")
            continue
        units = "1 unit" if cost.units == 1 else f"{cost.units:,} units"
        print(f"{cost.missing:,} of {cost.maps:,} missing, {units}")
        todo = max(1.0, cost.missing / cost.cells)
        print(f"  {cost.passes / todo:,.0f} passes an image, {cost.passes_alone / todo:,.0f} if each method ran alone")
        print(f"  about {duration(cost.seconds)} on one worker, {_bytes(cost.memory)} of memory")
    passes, alone = sum(c.passes for c in costs), sum(c.passes_alone for c in costs)
    missing, disk = sum(c.missing for c in costs), sum(c.disk for c in costs)
    print(f"{len(study.cells)} cells, {missing:,} of {sum(c.maps for c in costs):,} maps to compute")
    if not missing:
        print("nothing left to compute: every map is stored")
        return
    print(f"{passes:,} model passes ({alone:,} if each method ran alone)")
    print(f"about {duration(sum(c.seconds for c in costs))} on one worker, by a probe batch on this machine")
    free = shutil.disk_usage(next(p for p in (outputs.absolute(), *outputs.absolute().parents) if p.exists())).free
    warning = "; NOT ENOUGH" if disk > free else ""
    print(f"at most {_bytes(disk)} of disk, {_bytes(free)} free{warning}")


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
