"""Statistics of a method's maps over noisy copies, other than their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from xai_framework.core import Ask, Explainer, Moments, Probe, Reduction, Rng, Sampled, Shape, param
from xai_plugins.methods.gradient import Gradient
from xai_plugins.methods.smoothgrad import SmoothGrad

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Noisy(Sampled):
    """SmoothGrad with another statistic, under a name of its own; sees the same copies as SmoothGrad."""

    statistic: ClassVar[Literal["square", "variance"]]

    inner: Explainer = param(Gradient(), doc="the method run on each noisy copy")
    samples: int = param(25, ge=1, le=10_000, doc="noisy copies")
    sigma: float = param(0.15, ge=0, doc="standard deviation of the noise")
    noise: Literal["range", "absolute"] = param(
        "range", doc="sigma as a fraction of each image's max - min, or in input units"
    )
    reduce: Reduction = param("none", doc="how channels of the statistic become one; none keeps them")

    @classmethod
    def example(cls) -> Self:
        """Three copies."""
        return cls(samples=3)

    @property
    def _smoothgrad(self) -> SmoothGrad:
        return SmoothGrad(
            inner=self.inner,
            samples=self.samples,
            sigma=self.sigma,
            noise=self.noise,
            statistic=self.statistic,
            reduce=self.reduce,
        )

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The inner method's needs, of each noisy copy."""
        return self._smoothgrad.needs(about)

    def draw(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """The inner method's map of one noisy copy."""
        return self._smoothgrad.draw(probe, inputs, targets, rng)

    def combine(self, draws: Moments) -> Tensor:
        """The statistic over all copies."""
        return self._smoothgrad.combine(draws)
