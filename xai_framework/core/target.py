"""Which output is explained: a rule that chooses rows, and a score of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_framework.core.dataset import Label
from xai_framework.core.errors import TargetError
from xai_framework.core.params import param
from xai_framework.core.plugin import Plugin

if TYPE_CHECKING:
    from torch import Tensor

    from xai_framework.core.probe import Probe

Score = Literal["logit", "mean_logit", "probability", "log_probability", "cross_entropy"]


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

    def reads(self, rows: Tensor) -> Tensor | None:
        """Rows (B,...) -> classes (B,m): the outputs of each image that its score depends on. None: maybe on all.

        Others need not be computed; where they were not, ``score`` is given NaN. It stands in the class that has the
        ``score``: of one that a class below changes, it is not asked.
        """
        return None

    def needed(self, rows: Tensor) -> Tensor | None:
        """What :meth:`reads` says, where it speaks of this very score."""
        for cls in type(self).__mro__:
            if "reads" in vars(cls):
                return self.reads(rows)
            if "score" in vars(cls) or "values" in vars(cls):
                break
        return None


@dataclass(frozen=True)
class ScoredTarget(Target):
    """A target whose score is made of the usual scores of single classes.

    ``logit`` s_c, ``mean_logit`` s_c / K (the mean over classes of logits times one-hot), ``probability`` softmax(s)_c,
    ``log_probability`` log softmax(s)_c, and ``cross_entropy`` -log softmax(s)_c, the loss (its gradient points
    to less of the class).

    The other three parameters are steps of published recipes, taken in this order: ``scale_logits`` divides the logits
    by the largest absolute one of the image, a constant to the gradient (else a saturated softmax has no gradient);
    ``softmax_first`` takes the network's probabilities for logits; ``divide_by`` divides the score by a declared
    number, e.g. the batch size of a mean loss, whatever batch is computed.
    """

    of: Score = param("logit", doc="what of the chosen class is explained")  # noqa: RUF009 - dataclass fields
    scale_logits: Literal["none", "max"] = param("none", doc="max: logits divided by their largest absolute value")
    softmax_first: bool = param(False, doc="apply softmax to the outputs before the score")
    divide_by: float = param(1.0, gt=0, doc="the score is divided by this number")

    def values(self, outputs: Tensor) -> Tensor:
        """(B,K) -> (B,K): the score of every class."""
        if self.scale_logits == "max":
            largest = outputs.detach().abs().amax(1, keepdim=True)
            outputs = outputs / largest.masked_fill(largest == 0, 1)
        if self.softmax_first:
            outputs = outputs.softmax(1)
        if self.of == "mean_logit":
            outputs = outputs / outputs.shape[1]
        elif self.of == "probability":
            outputs = outputs.softmax(1)
        elif self.of == "log_probability":
            outputs = outputs.log_softmax(1)
        elif self.of == "cross_entropy":
            outputs = -outputs.log_softmax(1)
        return outputs if self.divide_by == 1 else outputs / self.divide_by

    @property
    def reads_chosen(self) -> bool:
        """Whether the score of a class depends on its output alone."""
        return self.of in ("logit", "mean_logit") and self.scale_logits == "none" and not self.softmax_first

    def scoring(self) -> dict[str, Any]:
        """The parameters of this class, to make another target with the same score."""
        return {f.name: getattr(self, f.name) for f in fields(ScoredTarget)}


@dataclass(frozen=True)
class ClassTarget(ScoredTarget):
    """A target that chooses one class index an image; gives the usual scores, see :class:`ScoredTarget`."""

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """(B,K), (B,) -> (B,). Raises TargetError for a row that is no class."""
        check_classes(outputs, rows)
        return self.values(outputs).gather(1, rows[:, None])[:, 0]

    def reads(self, rows: Tensor) -> Tensor | None:
        """The class itself, unless the score normalises over all."""
        return rows[:, None] if self.reads_chosen else None


def check_classes(outputs: Tensor, rows: Tensor) -> None:
    """Rows (B,...) must be classes of outputs (B,K), one row an image. Raises TargetError."""
    if len(rows) != len(outputs):
        raise TargetError(f"{len(rows)} targets for {len(outputs)} images")
    lowest, highest = int(rows.min()), int(rows.max())
    if lowest < 0 or highest >= outputs.shape[1]:  # on a GPU the same mistake would end the process
        wrong = lowest if lowest < 0 else highest
        raise TargetError(f"{wrong} is not a class", fix=f"use 0..{outputs.shape[1] - 1}")
