"""What metrics that remove parts of a picture share: in which order, by what, and the score of what is left."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch
from torch.nn.functional import avg_pool2d

from xai_framework.core import Ask, Baseline, Case, ConfigError, File, Metric, Shape, Sign, param, ranked
from xai_plugins.metrics._heat import RANK_SIGN_DOC
from xai_plugins.metrics._road import road

if TYPE_CHECKING:
    from torch import Tensor

Of = Literal["logit", "probability", "log_probability"]
"""Which score is followed. A target that has no such scores (a similarity) is followed by its own."""

Imputation = Literal[Baseline, "road"]
"""What stands where something was removed: a baseline, or what the pixels around suggest (``_road.py``)."""

SIGMA = 0.01
"""Of ROAD's noise, in input units: ``noise=0.01`` in the authors' code."""

_FLAT = 1e-6  # enlarging a constant map leaves rounding of this relative size, which must not be ranked


def check_imputation(name: str, image: File | None, where: str) -> None:
    """``image`` belongs to the imputation of that name, and to no other. Raises ConfigError."""
    if (name == "image") != (image is not None):
        what = "the image is not given" if image is None else f"an image is given, but the imputation is {name}"
        raise ConfigError(what, where=f"{where}.image", fix="give impute=image and image=path/to/picture.png")


def positive(case: Case, clean: Tensor) -> Tensor:
    """(B,) bool: whether the clean score can be divided by. Says why where it cannot."""
    found: Tensor = clean > 0
    for i in (~found).nonzero()[:, 0].tolist():
        case.undefined(i, "the score of the picture itself is not positive: nothing is a share of it")
    return found


def asks(copies: int) -> tuple[Ask, ...]:
    """The clean score and as many edited copies."""
    return (Ask("score"), Ask("scores", passes=copies))


# in which order


def patches(heat: Tensor, side: int) -> Tensor:
    """(B,H,W) -> (B,rows,columns): means of side x side pixels; at the far edges of what is there of them."""
    return avg_pool2d(heat[:, None], side, ceil_mode=True)[:, 0] if side > 1 else heat


def numbered(size: tuple[int, int], side: int) -> Tensor:
    """(H,W) int64: the number of each pixel's patch, row by row."""
    y, x = (torch.arange(n) // side for n in size)
    return y[:, None] * (1 + (size[1] - 1) // side) + x


def many(size: tuple[int, int], side: int) -> int:
    """How many patches there are."""
    return (1 + (size[0] - 1) // side) * (1 + (size[1] - 1) // side)


def rankable(case: Case, values: Tensor) -> Tensor:
    """(B,) bool: whether the values (B,n) of an image differ. Says why where they do not."""
    spread, size = values.amax(1) - values.amin(1), values.abs().amax(1)
    found: Tensor = spread > _FLAT * size
    for i in (~found).nonzero()[:, 0].tolist():
        flat = "is the same everywhere" if bool(size[i] > 0) else "is zero everywhere"
        case.undefined(i, f"the heat {flat}: it puts nothing in order")
    return found


def places(case: Case, values: Tensor) -> Tensor:
    """(B,n): the place of each value in the order from the largest to the smallest, from 0; ties at random."""
    order = ranked(values, case.rng)
    counted = torch.arange(values.shape[1], device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, counted)


def ordered(case: Case, sign: Sign, side: int) -> tuple[Tensor, Tensor]:
    """(B,H,W) the place of each pixel's patch in the order of the map, and (B,) whether the map orders them at all."""
    values = patches(case.heat(sign).double(), side).flatten(1)
    size = (case.inputs.shape[-2], case.inputs.shape[-1])
    found = places(case, values)[:, numbered(size, side).to(values.device)]
    return found, rankable(case, values)


def counts(total: int, steps: int, share: float = 1.0) -> list[int]:
    """How many of ``total`` parts are gone after step 1, ..., ``steps``, as evenly as whole parts allow."""
    return [round(share * total * step / steps) for step in range(1, steps + 1)]


def means(heat: Tensor, labels: Tensor, parts: int) -> Tensor:
    """(B,H,W), (B,H,W) numbers of parts -> (B,parts) float64: the mean heat of each part; 0 of one without pixels."""
    numbers, values = labels.flatten(1), heat.flatten(1).double()
    total = values.new_zeros(len(heat), parts).scatter_add_(1, numbers, values)
    size = values.new_zeros(len(heat), parts).scatter_add_(1, numbers, torch.ones_like(values))
    return total / size.clamp(min=1)


# by what

Impute = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""(b,C,H,W) rows ``rows`` (b,) of the batch, hidden (b,k,H,W) -> (b,k,C,H,W)."""


@dataclass(frozen=True, eq=False)
class Without:
    """Edits: copies without what ``hidden`` says: rows (b,) and numbers of copies -> (b,k,H,W) bool."""

    hidden: Callable[[Tensor, range], Tensor]
    count: int
    impute: Impute
    at: str = "input"

    def __len__(self) -> int:
        return self.count

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        """(b,C,H,W) -> (b*len(k),C,H,W)."""
        return self.impute(x, rows, self.hidden(rows, k)).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class Between:
    """Hides the pixels with first <= place < last; one such pair a copy. ``places`` are (B,H,W)."""

    places: Tensor
    bounds: Sequence[tuple[int, int]]

    def __call__(self, rows: Tensor, k: range) -> Tensor:
        """(b,len(k),H,W)."""
        bounds = torch.tensor([self.bounds[i] for i in k], device=self.places.device)
        first, last = bounds[:, 0, None, None], bounds[:, 1, None, None]
        place = self.places[rows][:, None]
        return (place >= first) & (place < last)


def imputer(case: Case, name: Imputation, image: File | None = None) -> Impute:
    """What stands in removed places. Its noise is an image's own, the same for all methods and all of its copies."""
    x = case.inputs
    if name == "road":
        noise = SIGMA * case.rng.shared("road").normal(x.shape).to(x)
        return _Road(noise, case.probe.baseline("mean", x))
    if image is not None:
        return Filled(case.probe.reference(image).to(x).expand_as(x))
    return Filled(case.probe.baseline(name, x, case.rng.shared("removed")))


@dataclass(frozen=True, eq=False)
class Filled:
    """A picture (B,C,H,W) stands in removed places."""

    fill: Tensor

    def __call__(self, x: Tensor, rows: Tensor, hidden: Tensor) -> Tensor:
        """See :data:`Impute`."""
        return torch.where(hidden[:, :, None], self.fill[rows][:, None], x[:, None])


@dataclass(frozen=True, eq=False)
class _Road:
    noise: Tensor
    nothing: Tensor

    def __call__(self, x: Tensor, rows: Tensor, hidden: Tensor) -> Tensor:
        n = hidden.shape[1]
        start = self.nothing[rows].repeat_interleave(n, 0)
        copies = road(x.repeat_interleave(n, 0), hidden.flatten(0, 1), start).unflatten(0, (len(x), n))
        return torch.where(hidden[:, :, None], copies + self.noise[rows][:, None], copies)


# the score of what is left


@dataclass(frozen=True)
class Removal(Metric, ABC):
    """The scores of a picture from which parts are removed, step by step, in the order of the map."""

    range: ClassVar[tuple[float, float]] = (-float("inf"), float("inf"))
    family: ClassVar[Literal["faithfulness"]] = "faithfulness"
    stochastic: ClassVar[bool] = True

    steps: int = param(16, ge=1, le=100_000, doc="steps from the whole picture to the last one")
    patch: int = param(1, ge=1, le=4096, doc="side of what is removed as one, in input pixels; their heat is averaged")
    impute: Imputation = param("mean", doc="what stands where something was removed; road: guessed from around it")
    image: File | None = param(None, doc="the picture of impute=image")
    of: Of = param("probability", doc="which score is followed")
    sign: Sign = param("signed", doc=RANK_SIGN_DOC)
    normalise: bool = param(False, doc="divide the scores by that of the picture itself")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_imputation(self.impute, self.image, type(self).__name__)

    @classmethod
    def example(cls) -> Self:
        """Few steps."""
        return cls(steps=4, patch=4)

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """The clean score, and one pass a step."""
        return asks(self.steps)

    def total(self, case: Case) -> int:
        """How many patches a picture has."""
        return many((case.inputs.shape[-2], case.inputs.shape[-1]), self.patch)

    def scores(self, case: Case, bounds: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """(B,) the clean score, (B,n) those of the copies, and (B,) whether the image has a value.

        ``bounds`` say which places each copy is without: first <= place < last.
        """
        probe = case.scored(self.of)
        found, usable = ordered(case, self.sign, self.patch)
        edits = Without(Between(found, bounds), len(bounds), imputer(case, self.impute, self.image))
        clean = probe.score(case.inputs, case.targets).double()
        scores = probe.scores(case.inputs, case.targets, edits).double()
        if self.normalise:
            usable = usable & positive(case, clean)
            scores, clean = scores / clean[:, None], clean / clean
        return clean, scores, usable


def area(scores: Tensor, gone: Sequence[int]) -> Tensor:
    """(B,n) -> (B,): the area under straight lines through the scores at these counts, scaled to end at 1."""
    at = torch.tensor(gone, dtype=scores.dtype, device=scores.device)
    return torch.trapezoid(scores, at / gone[-1], dim=1)
