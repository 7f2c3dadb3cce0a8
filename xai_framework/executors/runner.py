"""Computes pieces of work in this process; the only part of the executors that needs torch."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

import torch

from xai_framework.attempt import Task
from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.errors import ConfigError, PluginError
from xai_framework.core.explainer import Explainer
from xai_framework.core.metric import Metric
from xai_framework.core.target import Target
from xai_framework.engine import Engine
from xai_framework.events import Tell
from xai_framework.executors.work import Done, Piece
from xai_framework.judge import Judged, Values, planned
from xai_framework.plan import Cell, Group, MetricCell, built_dataset
from xai_framework.registry import Registry
from xai_framework.space import in_precision, in_space
from xai_framework.spec.job import Settings
from xai_framework.stop import Stop
from xai_framework.store import canonical
from xai_framework.untrained import untrained

_BEAT = 1.0
"""Seconds between two signs of life within a piece."""


class Runner:
    """One worker: keeps the backbone of one group in memory. ``device`` overrides that of the settings."""

    def __init__(self, groups: Sequence[Group], registry: Registry, stop: Stop, tell: Tell, device: str = "") -> None:
        self._groups, self._registry, self._stop, self._tell = groups, registry, stop, tell
        self._device = device
        self._loaded: int | None = None
        self._engine: Engine | None = None
        self._tasks: dict[str, Task] = {}

    def load(self, group: int) -> None:
        """Load a group's backbone, if it is not. Raises XaiError for what is wrong with the group as a whole."""
        if self._loaded == group:
            return
        self._engine, self._loaded = None, None  # before the next is loaded: two may not fit
        self._tasks = {}
        started = time.monotonic()
        tasks = tasks_of(self._groups[group].cells, self._registry)
        self._engine = engine_of(self._groups[group], tasks, self._registry, self._stop, self._tell, self._device)
        self._tasks, self._loaded = tasks, group
        seconds = round(time.monotonic() - started, 3)
        self._tell({"event": "loaded", "backbone": self._groups[group].backbone, "seconds": seconds})

    def compute(self, piece: Piece) -> Done:
        """Compute and store a piece."""
        self.load(piece.group)
        if self._engine is None:  # load() raises where there is none
            raise RuntimeError("no engine")
        started = time.monotonic()
        self._beat(piece)
        before = torch.get_num_threads()
        # a fixed number, since sums depend on it; and threads that wait for one another waste a busy machine
        torch.set_num_threads(self._groups[piece.group].job.settings.threads)
        try:
            cells = [self._groups[piece.group].cells[c] for c in piece.cells]
            ran = self._engine.run(piece.rows, [self._tasks[c.store.id] for c in cells])
        finally:
            torch.set_num_threads(before)
        return Done(ran.rows, ran.maps, ran.failed, ran.complete, time.monotonic() - started, ran.bytes)

    def _beat(self, piece: Piece) -> None:
        """Tell of passes while they are made, at most once a second."""
        engine = self._engine
        if engine is None:
            return
        counts, last = engine.counts, time.monotonic()
        begun = counts.forward + counts.backward
        total = sum(1 for _ in piece.rows) * passes_of(self._groups[piece.group], piece, self._tasks, engine)

        def before_pass() -> None:
            nonlocal last
            self._stop.check()
            if time.monotonic() - last >= _BEAT:
                last = time.monotonic()
                made = counts.forward + counts.backward - begun
                self._tell({"event": "progress", "piece": piece.number, "passes": made, "of": total})

        counts.before_pass = before_pass


def passes_of(group: Group, piece: Piece, tasks: dict[str, Task], engine: Engine) -> int:
    """About how many passes an image of a piece takes, forward and backward, by what its methods say they need."""
    from xai_framework.estimate import passes

    cells = [group.cells[c] for c in piece.cells]
    return passes(
        [(planned(tasks[c.store.id].method), id(tasks[c.store.id].target)) for c in cells], engine.input_shape
    ).shared


def engine_of(group: Group, tasks: dict[str, Task], registry: Registry, stop: Stop, tell: Tell, device: str) -> Engine:
    """Load a group's backbone and check its tasks; ``device`` overrides that of the settings. Raises XaiError."""
    settings = group.job.settings
    device = device or settings.device
    check_device(device)
    adapter = registry.build("backbone", group.backbone_config, "backbone")
    if not isinstance(adapter, ModelAdapter):
        raise PluginError(f"{group.backbone_config['name']!r} is no backbone", where="backbone")
    # metrics ask the network as it is, in however few digits the maps were computed
    judged = settings.precision == "bfloat16" and any(isinstance(t.method, Judged) for t in tasks.values())
    explained, chooser = explained_and_chooser(adapter, replace(settings, precision="float32") if judged else settings)
    return Engine(
        explained,
        built_dataset(registry, group.job.dataset),
        group.manifest.rows,
        list(tasks.values()),
        chooser=chooser,
        seed=settings.seed,
        device=device,
        batch=settings.batch,
        stop=stop,
        tell=tell,
    )


def explained_and_chooser(adapter: ModelAdapter, settings: Settings) -> tuple[ModelAdapter, ModelAdapter]:
    """The backbone as the settings have it explained, and the one whose outputs choose the targets.

    That is the trained one, and in bfloat16 that of float32: all methods of a study explain the same class.
    """
    if settings.precision == "bfloat16":
        # drawn before it is converted: in another type chance draws other weights
        source = untrained(adapter, settings.seed) if settings.untrained else adapter
        return in_space(in_precision(source, "bfloat16"), settings.space), in_space(adapter, settings.space)
    trained = in_space(in_precision(adapter, settings.precision), settings.space)
    return (untrained(trained, settings.seed) if settings.untrained else trained), trained


def tasks_of(cells: Sequence[Cell], registry: Registry) -> dict[str, Task]:
    """Cell id -> Task; cells of one target share one Target object, so that they share passes."""
    targets: dict[str, Target] = {}
    tasks: dict[str, Task] = {}
    for cell in cells:
        key = repr(sorted(cell.target_config.items()))
        if key not in targets:
            target = registry.build("target", cell.target_config, "target")
            if not isinstance(target, Target):
                raise PluginError(f"{cell.target_config['name']!r} is no target", where="target")
            targets[key] = target
        method = registry.build("method", cell.method_config, f"method.{cell.label}")
        if not isinstance(method, Explainer):
            raise PluginError(f"{cell.method_config['name']!r} is no method", where=f"method.{cell.label}")
        if isinstance(cell, MetricCell):
            tasks[cell.store.id] = _judging(cell, method, targets[key], registry)
        else:
            tasks[cell.store.id] = Task(cell.label, method, targets[key], cell.store, _provenance(cell))
    return tasks


def _judging(cell: MetricCell, method: Explainer, target: Target, registry: Registry) -> Task:
    """A metric in a method's place."""
    metric = registry.build("metric", cell.metric_config, f"metric.{cell.metric}")
    if not isinstance(metric, Metric):
        raise PluginError(f"{cell.metric_config['name']!r} is no metric", where=f"metric.{cell.metric}")
    judged = Judged(metric, method, cell.maps)
    facts = _provenance(cell) | {
        "metric": canonical(cell.metric_config),
        "better": ("higher" if metric.higher_is_better else "lower") if metric.judges else "neither",
        "range": canonical([str(float(bound)) for bound in metric.range]),
        "family": metric.family,
    }
    return Task(f"{cell.metric} of {cell.label}", judged, target, Values(cell.store, judged), facts)


def _provenance(cell: Cell) -> dict[str, str]:
    """What a result file says of itself besides its identity; nothing that depends on where or when it was made."""
    versions = {name: version(name) for name in ("xai-framework", "torch", "torchvision", "numpy", "pillow")}
    return {
        "backbone": cell.backbone,
        "method": canonical(cell.method_config),
        "target": canonical(cell.target_config),
        "versions": canonical(versions),
    }


def check_device(name: str) -> None:
    """Raises ConfigError where the device is not there, naming those that are."""
    available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if (
        device is None
        or (device.type == "cuda" and name != "cuda" and name not in available)
        or (device.type != "cpu" and not any(a.startswith(device.type) for a in available))
    ):
        raise ConfigError(f"no device {name!r} here", where="device", fix=f"available: {', '.join(available)}")


def pin_threads(threads: int) -> None:
    """For a process that has not imported torch yet: its libraries start no more threads than these."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
