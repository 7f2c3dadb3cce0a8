"""Running one metric the way the engine does, on one model of the kit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.dataset import Region
from xai_framework.core.explainer import CLEAN, Explainer
from xai_framework.core.metric import Case, Metric
from xai_framework.core.params import param
from xai_framework.core.probe import Probe, Rng
from xai_framework.handout import Handouts
from xai_framework.judge import case_of
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng
from xai_framework.testing.bench import Bench, Best

IMAGES = 4
SIZE = 32
"""Side of the kit's photographs."""


def _peak(maps: Tensor) -> Tensor:
    peak = torch.zeros_like(maps[:, :1])
    peak[..., maps.shape[-2] // 3, maps.shape[-1] // 2] = 1.0
    return peak


def _cancelling(maps: Tensor) -> Tensor:
    one = maps[:, :1].abs() + 1
    return torch.cat([one, -one], 1)


MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "of a method": lambda maps: maps,
    "that is coarse": lambda maps: adaptive_avg_pool2d(maps.sum(1, keepdim=True), 4),
    "that is positive": lambda maps: maps.abs().sum(1, keepdim=True),
    "that is negative": lambda maps: -maps.abs(),
    "of one pixel": _peak,
    "that is constant": lambda maps: torch.full_like(maps[:, :1], 0.5),
    "whose channels cancel": _cancelling,
    "of very large values": lambda maps: maps * 1e6,
    "of very small values": lambda maps: maps * 1e-12,
}
"""What the kit's metrics judge, of a signed map as large as the input."""


@dataclass(frozen=True)
class KitMethod(Explainer):
    """Input x gradient (Shrikumar et al. 2016, section 3.2), made into one of :data:`MAPS`."""

    what: str = param("of a method", doc="one of MAPS")

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """(B,c,h,w)."""
        return MAPS[self.what](inputs * probe.gradient(inputs, targets))


@dataclass
class Measured:
    """What a metric said of some rows, and what it did meanwhile. ``changed`` names what it wrote into; ``forward`` and
    ``backward`` are passes an image, without those of the method when it was run again (``explained`` times).
    """

    values: Tensor
    reasons: Mapping[int, str]
    case: Case
    explained: int = 0
    forward: float = 0.0
    backward: float = 0.0
    changed: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class MetricBench:
    """One metric and pictures."""

    metric: Metric
    bench: Bench
    truth: Sequence[tuple[Region, ...]]
    _known: dict[object, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, metric: Metric, adapter: ModelAdapter) -> MetricBench:
        """Pictures of smooth noise, each with a region of its class and one of another."""
        bench = Bench.of(KitMethod(), adapter, IMAGES)
        truth = [_regions(int(target), adapter.labels) for target in bench.targets]
        return cls(metric, bench, truth)

    def run(
        self,
        maps: str = "of a method",
        rows: Sequence[int] | None = None,
        *,
        seed: int = 0,
        chunk: int = 32,
        truth: bool = True,
    ) -> Measured:
        """The metric's values of some rows."""
        chosen = list(range(IMAGES) if rows is None else rows)
        inputs, targets = self.bench.inputs[chosen].clone(), self.bench.targets[chosen].clone()
        method = KitMethod(maps)
        given = self._given(method, chosen)
        held = [t.clone() for t in (inputs, targets, given)]
        handouts = Handouts()
        handouts.keep(inputs, CLEAN)
        probe = SharedProbe(self.bench.adapter, Best(), chunk=chunk, handouts=handouts)
        rng = NamedRng.of(seed, [self.bench.ids[i] for i in chosen], handouts)
        where = [self.bench.adapter.preprocess.geometry((SIZE, SIZE))] * len(chosen)
        regions = [self.truth[i] if truth else () for i in chosen]
        case = case_of(probe, method, inputs, targets, given, regions, where, rng)
        counting = _Counting(case.explain, probe)
        values = self.metric.measure(replace(case, explain=counting, reasons=case.reasons))
        changed = [
            name
            for name, now, before in zip(("inputs", "targets", "maps"), (inputs, targets, given), held, strict=True)
            if not torch.equal(now, before) or now.requires_grad
        ]
        made = [probe.counts.forward - counting.forward, probe.counts.backward - counting.backward]
        forward, backward = (n / len(chosen) for n in made)
        return Measured(values, case.reasons, case, counting.calls, forward, backward, changed)

    def _given(self, method: KitMethod, rows: Sequence[int]) -> Tensor:
        """Made once, so that a model that fails later fails for the metric."""
        key = (method.what, *rows)
        if key not in self._known:
            self._known[key] = self.bench.run(rows, method=method)
        return self._known[key].clone()


class _Counting:
    """Runs the method again, and counts how often and at what cost."""

    def __init__(self, explain: Callable[[Probe, Tensor, Tensor], Tensor], probe: SharedProbe) -> None:
        self._explain, self._counts = explain, probe.counts
        self.calls = self.forward = self.backward = 0

    def __call__(self, probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
        before = self._counts.forward, self._counts.backward
        maps = self._explain(probe, inputs, targets)
        self.calls += 1
        self.forward += self._counts.forward - before[0]
        self.backward += self._counts.backward - before[1]
        return maps


def _regions(mine: int, labels: Sequence[str]) -> tuple[Region, ...]:
    """A mask of the explained class and a box of another one."""
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[4:18, 6:20] = True
    other = (mine + 1) % max(2, len(labels))
    return Region(mine, mask=mask), Region(other, box=(20.0, 20.0, 30.0, 31.0))
