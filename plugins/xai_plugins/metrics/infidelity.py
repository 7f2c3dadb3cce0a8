"""Infidelity. Yeh, Hsieh, Suggala, Inouye & Ravikumar 2019, arXiv:1901.09392, definition 2.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch

from xai_framework.core import Ask, Case, ConfigError, Metric, Shape, Sign, param, resize
from xai_plugins.metrics._heat import where
from xai_plugins.metrics._removal import Filled, Of, Without, asks

if TYPE_CHECKING:
    from torch import Tensor

_ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class Infidelity(Metric):
    """How badly the map, taken for a linear model, foretells what changes of the picture do to the score.

    Equation: E_I[(I . M - (S(x) - S(x - I)))^2], I a random square of x - fill (``size`` of the shorter side, anywhere
    inside) or Gaussian noise over the whole picture. ``scaling`` first multiplies the map by the number that fits
    best, as the authors' code does: a map's unit then does not matter. Lower is better, from 0, in squared units of the
    score.

    As published a map is what I is multiplied by (``map=local``, as a gradient); a map that is itself in units of the
    score (input x gradient, occlusion) is summed over the square: ``map=global``. A map with the inputs' channels is
    taken channel by channel, any other as the same number for every channel of a pixel; both are enlarged to the input
    bilinearly, signed unless ``sign`` says otherwise. The same changes for all methods. The clean score and ``draws``
    passes. NaN where the map, so read, is zero everywhere.
    """

    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    family: ClassVar[Literal["faithfulness"]] = "faithfulness"
    stochastic: ClassVar[bool] = True

    changes: Literal["square", "gaussian"] = param("square", doc="random squares are filled, or noise is added")
    draws: int = param(64, ge=2, le=100_000, doc="random changes")
    size: float = param(0.2, gt=0, le=1, doc="side of the square, as a share of the input's shorter side")
    fill: Literal["mean", "black", "white", "blur"] = param("mean", doc="what squares are filled with")
    sigma: float = param(0.2, gt=0, doc="standard deviation of the noise, in input units")
    map: Literal["local", "global"] = param("local", doc="the map is multiplied by the change, or summed where it is")
    scaling: bool = param(True, doc="multiply the map by the number that fits best first")
    of: Of = param("probability", doc="which score is followed")
    sign: Sign = param("signed", doc="negative values of the map: 0 (positive), their size (absolute), or as they are")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.map == "global" and self.changes == "gaussian":
            raise ConfigError(
                "noise is everywhere: the sum of a map where it changes something is always the same",
                where="Infidelity.map",
                fix="use changes=square, or map=local",
            )

    @classmethod
    def example(cls) -> Self:
        """Few draws."""
        return cls(draws=4)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The clean score, and one pass a draw."""
        return asks(self.draws)

    def measure(self, case: Case) -> Tensor:
        """What the map foretells of each change, against what the change does."""
        values = self._values(case)
        usable = values.flatten(1).any(1)
        for i in (~usable).nonzero()[:, 0].tolist():
            case.undefined(i, "the map is zero everywhere, as it is read here")
        clean = case.scored(self.of).score(case.inputs, case.targets).double()
        foretold, scores = (self._squares if self.changes == "square" else self._noise)(case, values)
        drops = clean[:, None] - scores
        scale = foretold.new_ones(len(foretold))
        if self.scaling:
            size = foretold.square().sum(1)
            # a map that foretells nothing at all can be scaled by anything
            scale = (foretold * drops).sum(1) / size.masked_fill(size == 0, 1)
        return where(usable, (scale[:, None] * foretold - drops).square().mean(1))

    def _values(self, case: Case) -> Tensor:
        """(B,C,H,W) or (B,1,H,W)."""
        if self.map == "global" or case.maps.shape[1] != case.inputs.shape[1]:
            return case.heat(self.sign)[:, None]
        values = resize(case.maps, (case.inputs.shape[-2], case.inputs.shape[-1]))
        return values.clamp(min=0) if self.sign == "positive" else values.abs() if self.sign == "absolute" else values

    def _squares(self, case: Case, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B,n) what the map foretells, (B,n) scores of the changed copies; float64."""
        x = case.inputs
        batch, _, height, width = x.shape
        side = max(1, round(self.size * min(height, width)))
        fill = case.probe.baseline(self.fill, x)
        draws = case.rng.shared("squares").uniform((batch, self.draws, 2)).to(x.device)
        room = torch.tensor([height - side + 1, width - side + 1], device=x.device)
        top, left = ((draws * room).long().minimum(room - 1)).unbind(2)
        y, across = (torch.arange(n, device=x.device) for n in (height, width))

        def hidden(rows: Tensor, k: range) -> Tensor:
            part = slice(k.start, k.stop)
            first, start = top[rows, part, None], left[rows, part, None]
            inside = (y >= first) & (y < first + side), (across >= start) & (across < start + side)
            return inside[0][..., :, None] & inside[1][..., None, :]

        scores = case.scored(self.of).scores(x, case.targets, Without(hidden, self.draws, Filled(fill)))
        change = values if self.map == "global" else values * (x - fill)
        # sums over rectangles are differences of sums from the corner
        corner = x.new_zeros(batch, height + 1, width + 1, dtype=torch.float64)
        corner[:, 1:, 1:] = change.double().sum(1).cumsum(1).cumsum(2)
        row = torch.arange(batch, device=x.device)[:, None]
        below, right = top + side, left + side
        sums = corner[row, below, right] - corner[row, top, right] - corner[row, below, left] + corner[row, top, left]
        return sums, scores.double()

    def _noise(self, case: Case, values: Tensor) -> tuple[Tensor, Tensor]:
        """The same for noise, a few draws of all images at once."""
        probe, stream = case.scored(self.of), case.rng.shared("gaussian")
        group = max(1, min(self.draws, _ROWS_AT_ONCE // len(case.inputs)))
        sums, scores = [], []
        for first in range(0, self.draws, group):
            n = min(group, self.draws - first)
            x, rows, map_ = (t.repeat_interleave(n, 0) for t in (case.inputs, case.targets, values))
            change = self.sigma * stream.repeat(n, first).normal(x.shape).to(x)
            sums.append((map_ * change).double().flatten(1).sum(1).view(-1, n))
            scores.append(probe.score(x - change, rows).double().view(-1, n))
        return torch.cat(sums, 1), torch.cat(scores, 1)
