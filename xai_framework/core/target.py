"""Which output is explained: a rule that chooses rows, and a score of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from xai_framework.core.dataset import Label
from xai_framework.core.errors import TargetError
from xai_framework.core.params import param
from xai_framework.core.plugin import Plugin

if TYPE_CHECKING:
    from torch import Tensor

    from xai_framework.core.probe import Probe

Score = Literal["logit", "probability", "log_probability", "cross_entropy"]


@dataclass(frozen=True)
class About:
    """What a target may know of one image of the batch besides the outputs."""

    id: str
    label: Label
    classes: tuple[str, ...]  # the backbone's class names; empty where unknown


class Target(Plugin, ABC):
    """A rule and a score, both part of a cell's identity.

    ``choose`` gives one row an image; to methods rows are opaque, they only hand them back. Most targets choose class
    indices (B,) and derive from :class:`ClassTarget`.
    """

    kind: ClassVar[str] = "target"

    def check(self, labels: tuple[str, ...], classes: int) -> None:
        """Raise TargetError where this target cannot exist on a backbone with these class names and output count.

        Called once, before any image is read; the default accepts everything.
        """

    @abstractmethod
    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) outputs of the clean batch -> rows (B,...). Raises TargetError naming the image."""

    @abstractmethod
    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """(B,K) outputs and their rows -> (B,) differentiable scores, larger meaning more of the target."""


@dataclass(frozen=True)
class ClassTarget(Target):
    """A target that chooses one class index an image; gives the usual scores.

    ``logit`` s_c, ``probability`` softmax(s)_c, ``log_probability`` log softmax(s)_c, and ``cross_entropy``
    -log softmax(s)_c, the loss (its gradient has the opposite sign: it points to less of the class).
    """

    of: Score = param("logit", doc="what of the chosen class is explained")  # noqa: RUF009 - a dataclass field

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """(B,K), (B,) -> (B,). Raises TargetError for a row that is no class."""
        if len(rows) != len(outputs):
            raise TargetError(f"{len(rows)} targets for {len(outputs)} images")
        lowest, highest = int(rows.min()), int(rows.max())
        if lowest < 0 or highest >= outputs.shape[1]:  # on a GPU the same mistake would end the process
            wrong = lowest if lowest < 0 else highest
            raise TargetError(f"{wrong} is not a class", fix=f"use 0..{outputs.shape[1] - 1}")
        if self.of == "probability":
            outputs = outputs.softmax(1)
        elif self.of == "log_probability":
            outputs = outputs.log_softmax(1)
        elif self.of == "cross_entropy":
            outputs = -outputs.log_softmax(1)
        return outputs.gather(1, rows[:, None])[:, 0]
