"""Probes around small networks, for the tests beside this file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Ask, Preprocess
from xai_framework.handout import Handouts
from xai_framework.probe import SharedProbe

PICTURES = Preprocess(crop=(16, 16))


def around(model: nn.Module) -> ModuleAdapter:
    return ModuleAdapter(model.eval(), PICTURES)


def inputs(count: int = 3, size: int = 16) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def plan(*asks: Ask) -> dict[object, list[Ask]]:
    united: dict[object, list[Ask]] = {}
    for ask in asks:
        united.setdefault(ask.of, []).append(ask)
    return united


def probe(adapter: Any, *asks: Ask, keep: Tensor | None = None, **options: Any) -> SharedProbe:
    handouts = Handouts()
    if keep is not None:
        handouts.keep(keep, "clean")
    return SharedProbe(adapter, options.pop("target", Predicted()), handouts=handouts, asks=plan(*asks), **options)


def counted(asked: SharedProbe) -> tuple[int, int]:
    return asked.counts.forward, asked.counts.backward
