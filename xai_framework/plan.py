"""From jobs to work: cells, what of them is missing, and the units that compute it. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xai_framework.core.dataset import Dataset
from xai_framework.core.errors import ConfigError
from xai_framework.identity import SCHEMA, Config, caption, differing, is_stochastic, plugin_identity
from xai_framework.manifest import Manifest, manifest_of
from xai_framework.registry import Registry
from xai_framework.spec import Job
from xai_framework.store import CellStore, Store


@dataclass(frozen=True)
class Cell:
    """One method's parameters on one backbone and target: the unit of storage.

    ``label``, ``backbone`` and ``target`` are names for people; ``store`` knows the identity.
    """

    label: str
    backbone: str
    target: str
    method_config: Config
    target_config: Config
    store: CellStore


@dataclass(frozen=True)
class Unit:
    """Rows of a manifest and the cells that miss them; computed together, stored per cell."""

    rows: tuple[int, ...]
    cells: tuple[Cell, ...]


@dataclass
class Group:
    """All cells of one backbone on one dataset; the backbone is loaded once for them."""

    backbone: str
    backbone_config: Config
    dataset: Dataset
    manifest: Manifest
    job: Job
    cells: list[Cell] = field(default_factory=list)

    def units(self, size: int) -> list[Unit]:
        """The missing work: rows that miss the same cells, in manifest order, ``size`` at a time."""
        missing: dict[tuple[int, ...], list[int]] = {}
        known = [cell.store.rows() for cell in self.cells]
        for i, key in enumerate(self.manifest.keys()):
            lacking = tuple(c for c, rows in enumerate(known) if key not in rows)
            if lacking:
                missing.setdefault(lacking, []).append(i)
        return [
            Unit(tuple(rows[k : k + size]), tuple(self.cells[c] for c in lacking))
            for lacking, rows in missing.items()
            for k in range(0, len(rows), size)
        ]


@dataclass(frozen=True)
class Plan:
    """Everything a study consists of. ``targets`` of one group share passes."""

    groups: tuple[Group, ...]

    @property
    def cells(self) -> list[tuple[Group, Cell]]:
        """All cells with their groups, in order."""
        return [(g, c) for g in self.groups for c in g.cells]


def plan(jobs: Sequence[Job], registry: Registry) -> Plan:
    """All jobs of a study as one plan: duplicates dropped, cells grouped by backbone and dataset, labels told apart.

    Raises ConfigError for what only becomes visible here (missing files, an empty dataset).
    """
    groups: dict[str, Group] = {}
    seen: set[tuple[str, str, str]] = set()
    for job in jobs:
        key, group = _group_of(job, registry)
        group = groups.setdefault(key, group)
        for cell in _cells_of(job, group, registry):
            mark = (key, cell.store.id, cell.label)
            if mark not in seen:
                seen.add(mark)
                group.cells.append(cell)
    _tell_backbones_apart(list(groups.values()))
    for group in groups.values():
        _tell_methods_apart(group)
    return Plan(tuple(groups.values()))


def _group_of(job: Job, registry: Registry) -> tuple[str, Group]:
    backbone = resolved(registry, "backbone", job.backbone)
    identity = plugin_identity(registry, "backbone", backbone, "backbone")
    dataset_identity = json.dumps(plugin_identity(registry, "dataset", job.dataset, "dataset"), sort_keys=True)
    dataset = registry.build("dataset", job.dataset, "dataset")
    if not isinstance(dataset, Dataset):
        raise ConfigError(f"{job.dataset['name']!r} is no dataset", where="dataset")
    s = job.settings
    manifest = manifest_of(dataset, dataset_identity, Path(s.outputs) / "store" / "manifests")
    key = json.dumps([identity, dataset_identity, s.space, s.precision, s.seed, s.untrained], sort_keys=True)
    name = caption(registry, "backbone", backbone) + ("-untrained" if s.untrained else "")
    return key, Group(name, backbone, dataset, manifest, job)


def _cells_of(job: Job, group: Group, registry: Registry) -> list[Cell]:
    store = Store(Path(job.settings.outputs) / "store")
    cells = []
    for target in expanded(registry, "target", job.target):
        for label, method in job.methods.items():
            identity = cell_identity(registry, group.backbone_config, target, method, job)
            cells.append(
                Cell(
                    label,
                    group.backbone,
                    caption(registry, "target", target),
                    method,
                    target,
                    store.cell(group.backbone, str(method["name"]), identity),
                )
            )
    return cells


def cell_identity(registry: Registry, backbone: Config, target: Config, method: Config, job: Job) -> dict[str, Any]:
    """Everything that decides the values of a cell."""
    identity = {
        "schema": SCHEMA,
        "backbone": plugin_identity(registry, "backbone", backbone, "backbone"),
        "target": plugin_identity(registry, "target", target, "target"),
        "method": plugin_identity(registry, "method", method, "method"),
        "space": job.settings.space,
        "precision": job.settings.precision,
    }
    if job.settings.untrained:
        identity["untrained"] = {"seed": job.settings.seed}
    if is_stochastic(registry, method):
        identity["seed"] = job.settings.seed
    return identity


def resolved(registry: Registry, kind: str, config: Config) -> Config:
    """The configuration with moving names replaced by what they stand for; loads the class only if it has any."""
    if not registry.schema(kind, str(config["name"])).resolves:
        return config
    return registry.config_of(registry.build(kind, config, kind).resolved())


def expanded(registry: Registry, kind: str, config: Config) -> list[Config]:
    """One configuration for each single plugin that a list-valued one stands for."""
    if not registry.schema(kind, str(config["name"])).expands:
        return [config]
    return [registry.config_of(p) for p in registry.build(kind, config, kind).expanded()]


def _tell_backbones_apart(groups: list[Group]) -> None:
    for name in {g.backbone for g in groups}:
        same = [g for g in groups if g.backbone == name]
        for group, suffix in zip(same, differing([g.backbone_config for g in same]), strict=True):
            if suffix:
                group.backbone = f"{name}[{suffix}]"
                group.cells = [replace(c, backbone=group.backbone) for c in group.cells]


def _tell_methods_apart(group: Group) -> None:
    for target, label in {(c.target, c.label) for c in group.cells}:
        at = [i for i, c in enumerate(group.cells) if (c.target, c.label) == (target, label)]
        suffixes = differing([group.cells[i].method_config for i in at])
        for i, suffix in zip(at, suffixes, strict=True):
            if suffix:
                group.cells[i] = replace(group.cells[i], label=f"{label}[{suffix}]")
