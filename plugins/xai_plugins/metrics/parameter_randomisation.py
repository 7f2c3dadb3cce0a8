"""Model parameter randomisation test. Adebayo et al. 2018, arXiv:1810.03292, section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from xai_framework.core import Case, Metric, Shape, Sign, param
from xai_plugins.metrics._likeness import LIKENESS_SIGN_DOC, flat, likeness
from xai_plugins.metrics._random_weights import layers, reinitialise
from xai_plugins.metrics._twins import twin_of

if TYPE_CHECKING:
    from torch import Tensor


_LAYERS = 12  # a guess, for estimates alone


@dataclass(frozen=True)
class ParameterRandomisation(Metric):
    """How much of a map stays when the network forgets what it learnt: the map's correlation with those of networks
    whose layers were re-initialised one after another.

    Equation: mean over points l of Spearman(m, m_l), m_l the map where the first l layers in ``order`` are new. Layers
    are modules with weights, in the order the network defines them; normalisation layers forget their statistics too.
    Lower is better: a map that stays shows the picture, not what was learnt; -1..1. ``full`` compares with the wholly
    new network alone, as the efficient test of Hedström et al. 2024 (arXiv:2401.06465) does, though that one compares
    complexities. Points where the new network gives no map (zero, flat or not finite) do not count; NaN where none
    is left, or the heat is the same everywhere. Maps are enlarged to the input bilinearly. The target stays the class
    that was explained. The method runs once a point: ``points`` times its passes.
    """

    family: ClassVar[Literal["randomisation"]] = "randomisation"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    explains: ClassVar[bool] = True

    order: Literal["top_down", "bottom_up", "full"] = param(
        "top_down", doc="from the output to the input, the other way, or all layers at once"
    )
    points: int | None = param(
        None,
        ge=1,
        doc="how often the cascade is looked at, evenly spaced, last when every layer is new; null: each layer",
    )
    sign: Sign = param("absolute", doc=LIKENESS_SIGN_DOC)
    seed: int = param(0, ge=0, doc="of the new weights, which are the same for all images")

    def explanations(self, about: Shape) -> int:
        """One a point; how many layers the network has is guessed."""
        return 1 if self.order == "full" else self.points or _LAYERS

    def measure(self, case: Case) -> Tensor:
        """One copy of the network, changed layer by layer; one explanation a point."""
        twin = twin_of(case.adapter.model)
        adapter = case.adapter.with_model(twin)
        total = torch.zeros(len(case.maps), dtype=torch.float64, device=case.maps.device)
        seen = torch.zeros_like(total)
        for group in self._groups(layers(twin)):
            for name in group:
                reinitialise(twin, name, self.seed)
            maps = case.explain(case.probe.on(adapter), case.inputs, case.targets)
            similar = likeness(case, maps, self.sign)
            total += similar.nan_to_num(0)
            seen += similar.isfinite()
        same = flat(case, self.sign)
        for i in ((seen == 0) & ~same).nonzero()[:, 0].tolist():
            case.undefined(i, "no re-initialised network gives a map to compare with")
        return total / seen  # 0/0 where there was none

    def _groups(self, names: list[str]) -> list[list[str]]:
        """Which layers become new before each explanation."""
        ordered = names[::-1] if self.order == "top_down" else names
        points = 1 if self.order == "full" else min(self.points or len(names), len(names))
        ends = [round(len(names) * (i + 1) / points) for i in range(points)]
        return [ordered[start:end] for start, end in zip([0, *ends], ends, strict=False)]
