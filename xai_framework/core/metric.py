"""How good a map is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from xai_framework.core.dataset import Region
from xai_framework.core.geometry import Geometry
from xai_framework.core.plugin import Plugin

if TYPE_CHECKING:
    from torch import Tensor

    from xai_framework.core.explainer import Ask, Shape
    from xai_framework.core.probe import Probe, Rng


class Explain(Protocol):
    """Runs the judged method again: on other inputs, or by another probe (randomised weights)."""

    def __call__(self, probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
        """(B,C,H,W), (B,...) -> (B,c,h,w)."""
        ...


@dataclass(frozen=True)
class Case:
    """One batch to judge. ``maps`` (B,c,h,w) are the stored raw maps; ``truth`` holds each image's regions."""

    probe: Probe
    inputs: Tensor
    targets: Tensor
    maps: Tensor
    truth: Sequence[tuple[Region, ...]]
    geometry: Sequence[Geometry]
    rng: Rng
    explain: Explain


class Metric(Plugin, ABC):
    """One number an image. On a degenerate map: NaN, never a score."""

    kind: ClassVar[str] = "metric"
    higher_is_better: ClassVar[bool]
    range: ClassVar[tuple[float, float]]

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """What ``measure`` will ask of the probe."""
        return ()

    @abstractmethod
    def measure(self, case: Case) -> Tensor:
        """(B,) float; NaN where the metric has no meaning."""
