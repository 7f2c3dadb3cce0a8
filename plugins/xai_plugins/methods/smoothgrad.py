"""SmoothGrad and VarGrad of any method. Smilkov et al. 2017, arXiv:1706.03825, section 3.

VarGrad: Adebayo et al. 2018, arXiv:1810.03307. SmoothGrad-squared: Hooker et al. 2019, arXiv:1806.10758.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from xai_framework.core import (
    Ask,
    ConfigError,
    Explainer,
    Moments,
    Probe,
    Reduction,
    Rng,
    Sampled,
    Shape,
    asks_of_draws,
    param,
    reduce_channels,
)
from xai_plugins.methods.gradient import Gradient

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SmoothGrad(Sampled):
    """1/n sum_k M(x + N(0, sigma^2)), shaped like the inner method's map: a map averaged over noisy copies.

    Equation: the one of section 3. ``statistic`` turns it into the sum, the mean of squares (SmoothGrad-squared) or
    the variance over copies (VarGrad, divided by n). All instances with the same noise see the same copies.
    """

    inner: Explainer = param(Gradient(), doc="the method run on each noisy copy")
    samples: int = param(25, ge=1, le=10_000, doc="noisy copies")
    sigma: float = param(0.15, ge=0, doc="standard deviation of the noise")
    noise: Literal["range", "absolute"] = param(
        "range", doc="sigma as a fraction of each image's max - min, or in input units"
    )
    statistic: Literal["mean", "sum", "square", "variance"] = param("mean", doc="how the copies' maps are combined")
    reduce: Reduction = param("none", doc="how channels become one; none keeps them, signed")
    reduce_when: Literal["before", "after"] = param("after", doc="reduce each copy's map, or the combined one")

    snapshots: tuple[int, ...] | None = param(
        None, ge=1, doc="give the result after these numbers of copies too, one after another as channels"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for count in self.snapshots or ():
            if count > self.samples:
                raise ConfigError(
                    f"a snapshot after {count} copies, but there are {self.samples}",
                    where="SmoothGrad.snapshots",
                    fix=f"use at most {self.samples}",
                )

    @classmethod
    def example(cls) -> Self:
        """Two copies."""
        return cls(samples=2)

    @property
    def marks(self) -> tuple[int, ...]:
        """The numbers of copies after which there is a map."""
        return self.snapshots or (self.samples,)

    @property
    def _copies(self) -> tuple[object, ...]:
        """The name of the noisy batch: everything its making depends on."""
        return ("noise", self.sigma, self.noise)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The inner method's needs, of each noisy copy."""
        return asks_of_draws(self.inner.needs(about), self.samples, self._copies)

    def draw(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """The inner method's map of one noisy copy."""
        stream = rng.shared("noise")
        noisy = stream.once(self._copies, inputs, self._noisy(stream))
        maps = self.inner.explain(probe, noisy, targets, rng.at("inner"))
        return reduce_channels(maps, self.reduce) if self.reduce_when == "before" else maps

    def combine(self, draws: Moments) -> Tensor:
        """The chosen statistic over all copies."""
        combined: Tensor = getattr(draws, "mean_square" if self.statistic == "square" else self.statistic)
        return reduce_channels(combined, self.reduce) if self.reduce_when == "after" else combined

    def _noisy(self, stream: Rng) -> Callable[[Tensor], Tensor]:
        def make(x: Tensor) -> Tensor:
            spread = x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True)
            level = self.sigma * spread if self.noise == "range" else self.sigma
            return x + level * stream.normal(x.shape).to(x)

        return make
