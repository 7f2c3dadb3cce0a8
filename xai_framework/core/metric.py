"""How good a map is: one number an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from xai_framework.core.dataset import Region
from xai_framework.core.geometry import Geometry
from xai_framework.core.maps import Interpolation, reduce_channels, resize
from xai_framework.core.plugin import Plugin

if TYPE_CHECKING:
    from torch import Tensor

    from xai_framework.core.adapter import ModelAdapter
    from xai_framework.core.explainer import Ask, Shape
    from xai_framework.core.probe import Probe, Rng
    from xai_framework.core.target import Score

Sign = Literal["positive", "absolute", "signed"]
"""What a metric makes of negative values: nothing (they are 0), their size, or what they are."""


class Explain(Protocol):
    """Runs the judged method again: on other inputs, or by another probe (randomised weights). The noise of a method
    that draws is the same every time.
    """

    def __call__(self, probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
        """(B,C,H,W), (B,...) -> (B,c,h,w)."""
        ...


@dataclass(frozen=True, eq=False)
class Case:
    """One batch to judge. Every map in it is whole: finite, and not zero everywhere.

    ``maps`` (B,c,h,w) are the stored raw maps; ``classes`` (B,) the explained class of each image, -1 where the target
    is no class; ``truth`` each image's regions, in pixels of the photograph, and ``geometry`` where the input lies in
    it. ``scored`` gives the probe under another score of the same target (the probe's own where the target has no
    such score). ``adapter`` is the explained backbone, for metrics that need other weights (``probe.on``).
    """

    probe: Probe
    inputs: Tensor
    targets: Tensor
    maps: Tensor
    classes: Tensor
    truth: Sequence[tuple[Region, ...]]
    geometry: Sequence[Geometry]
    rng: Rng
    explain: Explain
    scored: Callable[[Score], Probe]
    adapter: ModelAdapter
    reasons: dict[int, str] = field(default_factory=dict)

    def undefined(self, image: int, why: str) -> None:
        """Say why an image gets NaN."""
        self.reasons.setdefault(image, why)

    def heat(self, sign: Sign, how: Interpolation = "bilinear") -> Tensor:
        """(B,H,W): the maps as one number a pixel of the input. Channels are summed, signed; then enlarged; then the
        sign is treated. ``heat`` of a map may be zero everywhere where the map is not.
        """
        height, width = self.inputs.shape[-2:]
        summed = resize(reduce_channels(self.maps, "sum"), (height, width), how)[:, 0]
        if sign == "positive":
            return summed.clamp(min=0)
        return summed.abs() if sign == "absolute" else summed

    def own_regions(self, image: int) -> tuple[Region, ...]:
        """The regions of the explained class. A region without a label belongs to every class."""
        mine = int(self.classes[image])
        name = self.adapter.labels[mine] if 0 <= mine < len(self.adapter.labels) else None
        return tuple(r for r in self.truth[image] if r.label is None or (mine >= 0 and r.label in (mine, name)))

    def own_mask(self, image: int) -> Tensor | None:
        """(H,W) bool: the explained class's regions on the input; None where none of them is visible."""
        import torch

        found = torch.zeros(tuple(self.inputs.shape[-2:]), dtype=torch.bool)
        geometry = self.geometry[image]
        for region in self.own_regions(image):
            if region.mask is not None:
                found |= torch.from_numpy(geometry.mask_to_input(region.mask).copy())
            elif region.box is not None and (box := geometry.box_to_input(region.box)) is not None:
                left, top, right, bottom = box
                # pixels whose centre is inside
                rows, columns = torch.arange(found.shape[0]) + 0.5, torch.arange(found.shape[1]) + 0.5
                inside = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None]
                found |= inside
        return found.to(self.inputs.device) if found.any() else None


def ranked(values: Tensor, rng: Rng) -> Tensor:
    """(B,n) -> (B,n) places of the values, largest first. Equal values stand in an order drawn by ``rng``: a coarse map
    has many zeros, and any fixed order of them would favour a corner of the picture.
    """
    noise = rng.at("ties").uniform(values.shape).to(values.device)
    drawn = noise.argsort(1)
    order = values.gather(1, drawn).sort(dim=1, descending=True, stable=True).indices
    return drawn.gather(1, order)


class Metric(Plugin, ABC):
    """One number an image. On a degenerate map: NaN, never a score.

    ``higher_is_better`` says where good is, ``range`` which values there can be, ``family`` what the metric is about.
    ``needs_truth``: it judges against regions, and images without a region of the explained class have no value.
    ``stochastic``: it draws random numbers (also to break ties), so the seed belongs to its results' identity.
    ``explains``: it runs the method again.
    """

    kind: ClassVar[str] = "metric"
    higher_is_better: ClassVar[bool]
    range: ClassVar[tuple[float, float]]
    family: ClassVar[Literal["faithfulness", "localisation", "robustness", "complexity", "randomisation", "axiomatic"]]
    needs_truth: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    explains: ClassVar[bool] = False

    @property
    def judges(self) -> bool:
        """Whether its values speak for or against a method; else tables only say how much there is."""
        return True

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """What ``measure`` will ask of the probe, besides what the method asks when it is run again."""
        return ()

    def explanations(self, about: Shape) -> int:
        """About how often ``measure`` runs the method again; a cost hint, like :meth:`needs`."""
        return int(self.explains)

    @abstractmethod
    def measure(self, case: Case) -> Tensor:
        """(B,) float64; NaN where the metric has no meaning, with the reason by ``case.undefined``.

        Row i may depend on image i alone.
        """
