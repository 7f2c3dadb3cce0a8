"""Puts together what a metric judges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from xai_framework.core.dataset import Region
from xai_framework.core.explainer import Explainer
from xai_framework.core.geometry import Geometry
from xai_framework.core.metric import Case
from xai_framework.core.probe import Probe
from xai_framework.core.target import Score, ScoredTarget
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng


def case_of(
    probe: SharedProbe,
    method: Explainer,
    inputs: Tensor,
    targets: Tensor,
    maps: Tensor,
    truth: Sequence[tuple[Region, ...]],
    geometry: Sequence[Geometry],
    rng: NamedRng,
) -> Case:
    """One batch as metrics see it; see :class:`Case`. ``rng`` is the run's own, of which the method drew."""
    plain = targets.ndim == 1 and not targets.is_floating_point()
    return Case(
        probe=probe,
        inputs=inputs,
        targets=targets,
        maps=maps,
        classes=targets if plain else torch.full((len(inputs),), -1, device=inputs.device),
        truth=truth,
        geometry=geometry,
        rng=rng.at("metric"),
        explain=partial(_explain, method, rng.at(type(method).__name__)),
        scored=partial(_scored, probe),
        adapter=probe.adapter,
    )


def _explain(method: Explainer, rng: NamedRng, probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
    return method.explain(probe, inputs, targets, rng)


def _scored(probe: SharedProbe, of: Score) -> Probe:
    target = probe.target
    return probe.under(target.replace(of=of)) if isinstance(target, ScoredTarget) else probe
