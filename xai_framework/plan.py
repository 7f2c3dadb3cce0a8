"""From jobs to work: cells, what of them is missing, and the units that compute it. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from xai_framework.core.dataset import Dataset
from xai_framework.core.errors import ConfigError
from xai_framework.identity import SCHEMA, Config, caption, differing, is_stochastic, plugin_identity
from xai_framework.manifest import Manifest, manifest_of
from xai_framework.registry import Registry
from xai_framework.registry.resolution import resolved
from xai_framework.spec import Job
from xai_framework.store import CellStore, Key, Store


@dataclass(frozen=True)
class Cell:
    """One method's parameters on one backbone and target: the unit of storage.

    ``label``, ``backbone`` and ``target`` are names for people, and so is ``control``: that the method stands beside
    others for comparison. ``store`` knows the identity.
    """

    label: str
    backbone: str
    target: str
    method_config: Config
    target_config: Config
    store: CellStore
    control: bool = field(default=False, kw_only=True)

    @property
    def title(self) -> str:
        """What is computed, in a word or two."""
        return self.label


@dataclass(frozen=True)
class MetricCell(Cell):
    """One metric's parameters on one cell of maps; its rows are numbers. ``maps`` is the file of the judged maps."""

    metric: str
    metric_config: Config
    maps: Path

    @property
    def title(self) -> str:
        """The metric and what it judges."""
        return f"{self.metric} of {self.label}"


@dataclass(frozen=True)
class Unit:
    """Rows of a manifest and the cells that miss them; computed together, stored per cell."""

    rows: tuple[int, ...]
    cells: tuple[Cell, ...]


@dataclass
class Group:
    """All cells of one backbone on one dataset; the backbone is loaded once for them. Plain data: it travels to
    other processes and machines. ``id`` names the backbone, the dataset and what else its cells share.
    """

    id: str
    backbone: str
    backbone_config: Config
    manifest: Manifest
    job: Job
    cells: list[Cell] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    """How far the journal of each cell had been written when :meth:`units` looked: what is added later, even while
    this run still loads its network, was computed by others.
    """

    def units(self, size: int) -> list[Unit]:
        """The missing work. Blocks of ``size`` rows, counted from the manifest's start, are one unit each where they
        miss the same cells: every run that resumes cuts alike, and so gives the same bytes. Rows that are missing
        here and there, as images that were inserted, are put together, ``size`` at a time.
        """
        self.read = [cell.store.written for cell in self.cells]
        keys = self.manifest.keys()
        blocks = self._blocks(keys, size)
        retry = self.job.settings.retry_failed
        stored = [cell.store.stored(blocks, keys, failed=not retry) for cell in self.cells]
        units: list[Unit] = []
        scattered: dict[tuple[int, ...], list[int]] = {}
        for block in blocks.values():
            for lacking, rows in _lacking(stored, block).items():
                alone = rows[-1] - rows[0] + 1 == len(rows) and (rows[0] == block.start or rows[-1] == block.stop - 1)
                if alone:
                    units.append(self._unit(rows, lacking))
                else:
                    scattered.setdefault(lacking, []).extend(rows)
        for lacking, rows in scattered.items():
            units += [self._unit(rows[k : k + size], lacking) for k in range(0, len(rows), size)]
        return units

    def _blocks(self, keys: list[Key], size: int) -> dict[str, slice]:
        """Checksum of each block's rows -> its place."""
        lists = self.cells[0].store.lists
        starts = range(0, len(keys), size)
        return {lists.add(keys[k : k + size]): slice(k, min(k + size, len(keys))) for k in starts}

    def _unit(self, rows: list[int], lacking: tuple[int, ...]) -> Unit:
        return Unit(tuple(rows), tuple(self.cells[c] for c in lacking))


def _lacking(stored: Sequence[bytearray], block: slice) -> dict[tuple[int, ...], list[int]]:
    """Which cells are missed by which rows of a block."""
    size = block.stop - block.start
    counts = [mask.count(1, block.start, block.stop) for mask in stored]
    if all(count in (0, size) for count in counts):
        lacking = tuple(c for c, count in enumerate(counts) if not count)
        return {lacking: list(range(block.start, block.stop))} if lacking else {}
    found: dict[tuple[int, ...], list[int]] = {}
    for row in range(block.start, block.stop):
        lacking = tuple(c for c, mask in enumerate(stored) if not mask[row])
        if lacking:
            found.setdefault(lacking, []).append(row)
    return found


@dataclass(frozen=True)
class Plan:
    """Everything a study consists of: groups of maps, and ``judged``, groups of metrics on them, which can be computed
    once the maps are there and merged.
    """

    groups: tuple[Group, ...]
    judged: tuple[Group, ...] = ()

    @property
    def cells(self) -> list[tuple[Group, Cell]]:
        """All cells with their groups, in order."""
        return [(g, c) for g in self.groups for c in g.cells]


def plan(
    jobs: Sequence[Job],
    registry: Registry,
    *,
    keep_manifests: bool = True,
    manifests: dict[str, Manifest] | None = None,
) -> Plan:
    """All jobs of a study as one plan: duplicates dropped, cells grouped by backbone and dataset, labels told apart.

    Without ``keep_manifests`` nothing is written, and the next plan reads the images again, except those of
    ``manifests`` (by :func:`dataset_identity`), to which what is read is added. Raises ConfigError for what only
    becomes visible here (missing files, an empty dataset).
    """
    groups: dict[str, Group] = {}
    seen: set[tuple[str, str, str]] = set()
    known = {} if manifests is None else manifests
    shared = _Shared(Path(jobs[0].settings.outputs) / "store", registry, keep_manifests, known)
    wanted: dict[str, list[tuple[str, str, Config]]] = {}
    for job in jobs:
        key, group = _group_of(job, shared)
        group = groups.setdefault(key, group)
        for cell in _cells_of(job, group, shared):
            wanted.setdefault(cell.store.id, []).extend((group.manifest.key, *m) for m in job.metrics.items())
            # by what is computed, not by group: a method that draws nothing is the same under every seed
            mark = (group.manifest.key, cell.store.id, cell.label)
            if mark not in seen:
                seen.add(mark)
                group.cells.append(cell)
    filled = [group for group in groups.values() if group.cells]
    _tell_backbones_apart(filled)
    for group in filled:
        _tell_methods_apart(group)
    _tell_settings_apart(filled)
    judged = [_judged(group, wanted, shared) for group in filled]
    return Plan(tuple(filled), tuple(g for g in judged if g.cells))


@dataclass
class _Shared:
    """What the jobs of a plan have in common; a dataset is looked at once."""

    folder: Path
    registry: Registry
    keep_manifests: bool
    manifests: dict[str, Manifest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Store(self.folder)

    def manifest(self, job: Job, identity: str) -> Manifest:
        """The rows of a job's dataset."""
        if identity not in self.manifests:
            dataset = built_dataset(self.registry, job.dataset)
            folder = self.folder / "manifests" if self.keep_manifests else None
            self.manifests[identity] = manifest_of(dataset, identity, folder)
        return self.manifests[identity]


def dataset_identity(registry: Registry, job: Job) -> str:
    """A text that names the dataset's configuration and code."""
    return json.dumps(plugin_identity(registry, "dataset", job.dataset, "dataset"), sort_keys=True)


def built_dataset(registry: Registry, config: Config) -> Dataset:
    """The dataset of a job. Raises ConfigError where it is none."""
    dataset = registry.build("dataset", config, "dataset")
    if not isinstance(dataset, Dataset):
        raise ConfigError(f"{config['name']!r} is no dataset", where="dataset")
    return dataset


def _group_of(job: Job, shared: _Shared) -> tuple[str, Group]:
    registry, s = shared.registry, job.settings
    backbone = resolved(registry, "backbone", job.backbone)
    identity = plugin_identity(registry, "backbone", backbone, "backbone")
    dataset = dataset_identity(registry, job)
    manifest = shared.manifest(job, dataset)
    precision = f"auto: {s.precision}" if job.decided else s.precision
    key = json.dumps([identity, dataset, s.space, precision, s.seed, s.untrained], sort_keys=True)
    name = caption(registry, "backbone", backbone) + ("-untrained" if s.untrained else "")
    return key, Group(hashlib.sha256(key.encode()).hexdigest(), name, backbone, manifest, job)


def _cells_of(job: Job, group: Group, shared: _Shared) -> list[Cell]:
    registry, cells = shared.registry, []
    controls = registry.controls | {registry.canonical("method", name) for name in job.settings.controls or ()}
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
                    shared.store.cell(group.backbone, str(method["name"]), identity),
                    control=str(method["name"]) in controls,
                )
            )
    return cells


def _judged(group: Group, wanted: Mapping[str, list[tuple[str, str, Config]]], shared: _Shared) -> Group:
    """The metrics that any job wants of a group's cells. ``wanted``: cell id -> (manifest, label, configuration)."""
    judged = replace(group, id=f"{group.id} judged", cells=[])
    for cell in group.cells:
        mine = [(label, config) for manifest, label, config in wanted[cell.store.id] if manifest == group.manifest.key]
        metrics = {json.dumps(dict(config), sort_keys=True): (label, config) for label, config in mine}
        suffixes = _suffixes(list(metrics.values()))
        for (label, metric), suffix in zip(metrics.values(), suffixes, strict=True):
            identity = metric_identity(shared.registry, cell.store.id, metric, group.job)
            store = shared.store.cell(group.backbone, f"{metric['name']}.{cell.method_config['name']}", identity)
            maps = cell.store.merged_path(merged_name(group.manifest))
            facts = {f.name: getattr(cell, f.name) for f in fields(Cell)} | {"store": store}
            judged.cells.append(MetricCell(**facts, metric=label + suffix, metric_config=metric, maps=maps))
    return judged


def _suffixes(labelled: Sequence[tuple[str, Config]]) -> list[str]:
    """What tells apart configurations of one label, as ``[steps=8]``; empty where nothing has to."""
    suffixes = [""] * len(labelled)
    for label in {name for name, _ in labelled}:
        at = [i for i, (name, _) in enumerate(labelled) if name == label]
        for i, text in zip(at, differing([labelled[i][1] for i in at]), strict=True):
            suffixes[i] = f"[{text}]" if text else ""
    return suffixes


def merged_name(manifest: Manifest) -> str:
    """What the merged files of a manifest's rows are called."""
    return manifest.key[:12]


def metric_identity(registry: Registry, maps: str, metric: Config, job: Job) -> dict[str, Any]:
    """Everything that decides a metric's values: the cell of the maps, the metric, and the seed where it draws."""
    name = str(metric["name"])
    identity = {"schema": SCHEMA, "maps": maps, "metric": plugin_identity(registry, "metric", metric, "metric")}
    return identity | ({"seed": job.settings.seed} if registry.schema("metric", name).stochastic else {})


def cell_identity(registry: Registry, backbone: Config, target: Config, method: Config, job: Job) -> dict[str, Any]:
    """Everything that decides the values of a cell."""
    if job.settings.precision == "auto":  # it names no numbers: see xai_framework.gate
        raise ValueError("the precision of a cell is decided before it is planned")
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


def _tell_settings_apart(groups: list[Group]) -> None:
    """Cells that differ in nothing but a setting of the study, as its seed, have it in their labels."""
    named: dict[tuple[str, str, str], list[tuple[Group, int]]] = {}
    for group in groups:
        for i, cell in enumerate(group.cells):
            named.setdefault((group.backbone, cell.target, cell.label), []).append((group, i))
    for places in named.values():
        settings = [_asked(group.job) for group, _ in places]
        for (group, i), suffix in zip(places, differing(settings), strict=True):
            if suffix:
                group.cells[i] = replace(group.cells[i], label=f"{group.cells[i].label}[{suffix}]")


def _asked(job: Job) -> Config:
    """The settings that labels may name, as they were asked for."""
    s = job.settings
    return {"seed": s.seed, "space": s.space, "precision": "auto" if job.decided else s.precision}
