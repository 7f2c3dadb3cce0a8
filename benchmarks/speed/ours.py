"""Our side: a unit computed as ``xai run`` does, all methods of a work planned together, maps kept in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.networks import Array, preprocess
from xai_framework.api import ModuleAdapter, _Given
from xai_framework.attempt import Task
from xai_framework.core import Explainer, ModelAdapter, Target
from xai_framework.core.dataset import Item
from xai_framework.core.status import Status
from xai_framework.engine import Engine
from xai_framework.executors.runner import explained_and_chooser
from xai_framework.registry import Registry
from xai_framework.spec.job import Settings
from xai_framework.store import Block

FAST = ("bfloat16", "auto")
MethodConfig = Mapping[str, Any]


def precisions() -> tuple[str, ...]:
    """float32, and what the framework has that is faster, if anything."""
    known = get_args(get_type_hints(Settings)["precision"])
    return ("float32", *[p for p in FAST if p in known][:1])


def prepared(model: nn.Module, size: int, precision: str) -> tuple[ModelAdapter, ModelAdapter]:
    """The backbone as a run would have it explained, and the one that chooses the targets."""
    settings = Settings(precision=precision)  # type: ignore[arg-type]
    return explained_and_chooser(ModuleAdapter(model, preprocess(size)), settings)


@dataclass
class Kept:
    """Takes a unit's rows instead of a store."""

    blocks: list[Block] = field(default_factory=list)

    def write(self, block: Block, attributes: dict[str, str], volatile: dict[str, Any]) -> None:
        """Keep the latest."""
        self.blocks = [block]


class Ours:
    """Some methods on some pictures: reads and prepares them, chooses the target, explains."""

    def __init__(
        self, model: nn.Module, pictures: Sequence[Array], methods: Mapping[str, MethodConfig], precision: str
    ) -> None:
        registry = Registry()
        size = pictures[0].shape[0]
        self._dataset = _Given(tuple(Item(str(i), p) for i, p in enumerate(pictures)))
        self._kept = {label: Kept() for label in methods}
        target = _built(registry, "target", {"name": "predicted"}, Target)
        self._tasks = [
            Task(label, _built(registry, "method", config, Explainer), target, self._kept[label])
            for label, config in methods.items()
        ]
        explained, chooser = prepared(model, size, precision)
        rows = list(self._dataset.rows())
        self._engine = Engine(explained, self._dataset, rows, self._tasks, chooser=chooser)

    def __call__(self) -> None:
        """Compute all of it. Raises RuntimeError where a map failed: that would be fast for the wrong reason."""
        self._engine.run(range(len(self._dataset)), self._tasks)
        for label, kept in self._kept.items():
            bad = [r for s, r in zip(kept.blocks[0].status, kept.blocks[0].reason, strict=True) if s == Status.failed]
            if bad:
                raise RuntimeError(f"{label}: {bad[0]}")

    def counted(self) -> tuple[float, float]:
        """Compute it, and say how many passes that took, forward and backward, a picture."""
        counts, n = self._engine.counts, len(self._dataset)
        forward, backward = counts.forward, counts.backward
        self()
        return (counts.forward - forward) / n, (counts.backward - backward) / n

    def maps(self, label: str) -> NDArray[Any]:
        """(n,C,h,w) of the latest computation."""
        return self._kept[label].blocks[0].attribution

    @property
    def targets(self) -> Tensor:
        """The classes that were explained."""
        return torch.from_numpy(next(iter(self._kept.values())).blocks[0].target)


def _built(registry: Registry, kind: str, config: MethodConfig, interface: type) -> Any:
    plugin = registry.build(kind, config, kind)
    assert isinstance(plugin, interface)
    return plugin
