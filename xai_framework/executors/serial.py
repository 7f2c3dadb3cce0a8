"""One unit after another, in this process."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.errors import ConfigError, PluginError
from xai_framework.core.explainer import Explainer
from xai_framework.core.target import Target
from xai_framework.engine import Engine, Task
from xai_framework.plan import Cell, Group, Unit
from xai_framework.registry import Registry
from xai_framework.space import in_precision, in_space
from xai_framework.store import canonical
from xai_framework.untrained import untrained

Progress = Callable[[Group, int], None]
"""Told after each unit: the group, and how many images it held."""


def run_group(group: Group, units: list[Unit], registry: Registry, progress: Progress) -> None:
    """Compute all units of one group; the backbone is loaded once, here."""
    import torch

    settings = group.job.settings
    check_device(settings.device)
    adapter = registry.build("backbone", group.backbone_config, "backbone")
    if not isinstance(adapter, ModelAdapter):
        raise PluginError(f"{group.backbone_config['name']!r} is no backbone", where="backbone")
    adapter = in_space(in_precision(adapter, settings.precision), settings.space)
    trained = adapter
    if settings.untrained:
        adapter = untrained(adapter, settings.seed)
    tasks = tasks_of(group.cells, registry)
    engine = Engine(
        adapter,
        group.dataset,
        group.manifest.rows,
        list(tasks.values()),
        chooser=trained,
        seed=settings.seed,
        device=settings.device,
        batch=settings.batch,
    )
    before = torch.get_num_threads()
    # a fixed number, since sums depend on it; and threads that wait for one another waste a busy machine
    torch.set_num_threads(settings.threads)
    try:
        for unit in units:
            engine.run(unit.rows, [tasks[c.store.id] for c in unit.cells])
            progress(group, len(unit.rows))
    finally:
        torch.set_num_threads(before)


def tasks_of(cells: list[Cell], registry: Registry) -> dict[str, Task]:
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
        tasks[cell.store.id] = Task(cell.label, method, targets[key], cell.store, _provenance(cell))
    return tasks


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
    import torch

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
