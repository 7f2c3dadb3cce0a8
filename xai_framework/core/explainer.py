"""The method interface: a question or two to the probe, and a raw map back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from xai_framework.core.plugin import Plugin
from xai_framework.core.rule import PLAIN, Rule

if TYPE_CHECKING:
    from torch import Tensor

    from xai_framework.core.probe import Probe, Rng

Verb = Literal["outputs", "score", "gradient", "layers", "scores", "calls"]

CLEAN = "clean"
"""The name of the unperturbed batch, see :class:`Ask`."""


@dataclass(frozen=True)
class Shape:
    """What is known of the work when costs are estimated: the input (C,H,W)."""

    inputs: tuple[int, int, int]


@dataclass(frozen=True)
class Ask:
    """A cost hint: one verb a method will use. Unites passes of several methods; never changes a result.

    ``of`` names the tensor it is asked of: ``clean``, or the name given to ``Rng.once``. ``passes`` and ``backwards``
    count passes per image.
    """

    verb: Verb
    layers: tuple[str, ...] = ()
    rule: Rule = PLAIN
    grads: bool = True
    of: object = CLEAN
    passes: int = 1
    backwards: int = 0


class Explainer(Plugin, ABC):
    """An attribution method: a frozen dataclass whose fields are its parameters.

    ``stochastic``: uses ``rng`` (the seed then belongs to the result's identity). ``class_specific``: the map depends
    on the target. Raise :class:`NotApplicable` with the reason where the method has no meaning for a backbone.
    """

    kind: ClassVar[str] = "method"
    stochastic: ClassVar[bool] = False
    class_specific: ClassVar[bool] = True

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """What ``explain`` will ask. A method that forgets to declare is slower, not wrong."""
        return ()

    @abstractmethod
    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """(B,C,H,W), (B,...) -> (B,c,h,w): raw, signed, on the method's own grid; any c.

        Row i may depend on image i alone. ``inputs`` must not be written to.
        """


class Sampled(Explainer):
    """A method that averages over random draws, written as ONE draw and how draws are combined.

    The framework runs the draws, several at once where batches are small, combines them in place (never holding all),
    and advances all sampled methods of a study together, so that methods which ask for the same noise share passes.
    """

    stochastic: ClassVar[bool] = True
    rows_at_once: ClassVar[int] = 16
    """Draws are grouped so that a pass holds at most this many rows."""

    samples: int

    @property
    def marks(self) -> tuple[int, ...]:
        """The numbers of draws after which there is a map; several are given one after another as channels."""
        return (self.samples,)

    @abstractmethod
    def draw(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """One draw for each row, (B,C,H,W) -> (B,c,h,w). ``rng`` is already that of the row's own draw."""

    def combine(self, draws: Moments) -> Tensor:
        """The finished map from the running sums; the mean unless overridden."""
        return draws.mean

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """All draws, one group after another."""
        steps = self.steps(probe, inputs, targets, rng)
        while True:
            try:
                with rng.scope():  # a group's evidence is not needed by the next
                    next(steps)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]

    def steps(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Generator[None, None, Tensor]:
        """Yields before each group of draws, returns the map; the engine advances several methods in step."""
        import torch

        group = max(1, min(self.samples, self.rows_at_once // len(inputs)))
        moments = Moments()
        found: dict[int, Tensor] = {}
        for first in range(0, self.samples, group):
            yield
            n = min(group, self.samples - first)
            repeat = partial(_repeat, n=n)
            # the same objects for every sampled method: what is made of them is then shared too
            rows = rng.shared("rows")
            draw_inputs = rows.once(("rows", n), inputs, repeat)
            draw_targets = rows.once(("rows", n), targets, repeat)
            maps = self.draw(probe, draw_inputs, draw_targets, rng.repeat(n, first))
            maps = maps.reshape(len(inputs), n, *maps.shape[1:])
            for mark in sorted(self.marks):
                if moments.count < mark <= first + n:
                    moments.add(maps[:, moments.count - first : mark - first])
                    found[mark] = self.combine(moments)
            if moments.count < first + n:
                moments.add(maps[:, moments.count - first :])
        if len(self.marks) == 1:
            return found[self.marks[0]]
        return torch.cat([found[mark] for mark in self.marks], 1)


def _repeat(tensor: Tensor, n: int) -> Tensor:
    return tensor.repeat_interleave(n, 0)


class Moments:
    """Running sums over draws: (B,n,...) groups come in, mean and variance over all n come out."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._deviations: Tensor | None = None  # sum of squared deviations from the mean

    def add(self, group: Tensor) -> None:
        """Take in n more draws of each row (Chan, Golub & LeVeque's update: stable in float32)."""
        group = group.float() if group.element_size() < 4 else group  # sums of half precision lose their digits
        n = group.shape[1]
        mean = group.mean(1)
        deviations = (group - mean[:, None]).square().sum(1)
        if self._mean is None or self._deviations is None:
            self.count, self._mean, self._deviations = n, mean, deviations
            return
        total = self.count + n
        delta = mean - self._mean
        self._mean = self._mean + delta * (n / total)
        self._deviations = self._deviations + deviations + delta.square() * (self.count * n / total)
        self.count = total

    @property
    def mean(self) -> Tensor:
        """(B,...)."""
        if self._mean is None:
            raise ValueError("no draws yet")
        return self._mean

    @property
    def sum(self) -> Tensor:
        """(B,...)."""
        return self.mean * self.count

    @property
    def mean_square(self) -> Tensor:
        """Mean of squares, (B,...)."""
        return self.variance + self.mean.square()

    @property
    def variance(self) -> Tensor:
        """Population variance (divided by the count), (B,...)."""
        if self._deviations is None:
            raise ValueError("no draws yet")
        return self._deviations / self.count


def asks_of_draws(inner: tuple[Ask, ...], samples: int, of: object) -> tuple[Ask, ...]:
    """The needs of a sampled method: the inner method's, asked of the noisy batch ``of``, ``samples`` times."""
    return tuple(
        replace(a, of=of if a.of == CLEAN else (of, a.of), passes=a.passes * samples, backwards=a.backwards * samples)
        for a in inner
    )
