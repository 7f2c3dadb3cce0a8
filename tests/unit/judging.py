"""Cases for metrics around small networks, for the tests beside this file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Case, Explainer, Metric, Preprocess, Region, Target
from xai_framework.core.geometry import Geometry
from xai_framework.judge import case_of
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng


@dataclass(frozen=True, eq=False)
class Maps(Explainer):
    """A method that is a function of the probe, inputs and targets, for metrics that explain again."""

    make: Callable[..., Tensor] = field(default=lambda probe, x, t: probe.gradient(x, t))

    def __post_init__(self) -> None:
        pass

    def explain(self, probe: Any, inputs: Tensor, targets: Tensor, rng: Any) -> Tensor:
        return self.make(probe, inputs, targets)


def judging(
    model: nn.Module,
    inputs: Tensor,
    maps: Tensor | None = None,
    *,
    method: Explainer | None = None,
    targets: Tensor | None = None,
    target: Target | None = None,
    truth: Sequence[tuple[Region, ...]] | None = None,
    labels: tuple[str, ...] = (),
    seed: int = 0,
    chunk: int = 32,
) -> Case:
    """A case of pictures that are inputs as they are: geometry is the identity. ``maps`` default to the method's."""
    height, width = inputs.shape[-2:]
    adapter = ModuleAdapter(model.eval(), Preprocess(crop=(height, width)), labels)
    probe = SharedProbe(adapter, target or Predicted(), chunk=chunk)
    rng = NamedRng.of(seed, [f"image {i}" for i in range(len(inputs))])
    method = method or Maps()
    rows = probe.outputs(inputs).argmax(1) if targets is None else targets
    made = method.explain(probe, inputs, rows, rng.at(type(method).__name__)) if maps is None else maps
    where = [Geometry((height, width), (height, width), (0.0, 0.0, float(width), float(height)))] * len(inputs)
    regions = truth if truth is not None else [()] * len(inputs)
    return case_of(probe, method, inputs, rows, made, regions, where, rng)


def measured(metric: Metric, case: Case) -> list[float]:
    values = metric.measure(case)
    assert values.shape == (len(case.inputs),)
    assert values.dtype == torch.float64
    return [float(v) for v in values]
