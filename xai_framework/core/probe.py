"""What a method may ask: of a model (Probe) and of chance (Rng)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from xai_framework.core.rule import PLAIN, Function, Rule

if TYPE_CHECKING:
    from torch import Size, Tensor

    from xai_framework.core.adapter import ModelAdapter
    from xai_framework.core.edits import Edits

Baseline = Literal["mean", "black", "white", "blur", "noise", "image"]
"""What replaces evidence: ``mean`` is what normalisation maps to 0, ``image`` a named reference picture."""


@dataclass(frozen=True)
class Call:
    """One call of a watched function: its arguments, its output, and d score / d output (None where unused)."""

    function: Function
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor
    gradient: Tensor | None


Reduce = Callable[["Tensor", "Tensor", Sequence[Call]], "Tensor"]
"""(inputs (b,C,H,W), d score / d inputs, calls in order) -> (b,...)."""


class Probe(Protocol):
    """Questions about a model. Every verb is pure, works in chunks of the batch, and leaves no trace on the model.

    ``inputs`` are (B,C,H,W) in the attribution space, ``targets`` the rows a Target chose, (B,...). Answers are
    detached, finite or not, and read-only: never write into them. Gradients are of the target's score.
    """

    def outputs(self, inputs: Tensor) -> Tensor:
        """(B,K)."""
        ...

    def score(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """(B,)."""
        ...

    def gradient(self, inputs: Tensor, targets: Tensor, rule: Rule = PLAIN) -> Tensor:
        """D score / d inputs, shaped like inputs."""
        ...

    def layers(
        self,
        inputs: Tensor,
        targets: Tensor,
        names: Sequence[str] = ("last",),
        rule: Rule = PLAIN,
        grads: bool = True,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Name -> (activations, d score / d activations), each (B,C,h,w).

        ``grads=False`` runs no backward pass and gives activations in both places. Raises LayerError.
        """
        ...

    def scores(self, inputs: Tensor, targets: Tensor, edits: Edits) -> Tensor:
        """(B,n): the score of n edited copies of each input, or of a layer's activation."""
        ...

    def calls(self, inputs: Tensor, targets: Tensor, functions: Sequence[Function], reduce: Reduce) -> Tensor:
        """What passed through given functions (attention probabilities, biases) with gradients, reduced per chunk."""
        ...

    def on(self, adapter: ModelAdapter) -> Probe:
        """The same questions to other weights."""
        ...

    def baseline(self, name: Baseline, inputs: Tensor, rng: Rng | None = None) -> Tensor:
        """(B,C,H,W): the named baseline of each input. ``blur`` is a Gaussian of sigma = shorter side / 16."""
        ...

    def pixels(self, inputs: Tensor) -> Tensor:
        """(B,C,H,W) in [0,1], for segments and edges."""
        ...

    def reference(self, name: str) -> Tensor:
        """A prepared reference image (1,C,H,W); its content is part of the cell's identity."""
        ...


class Rng(Protocol):
    """Noise by name: a function of (seed, image id, stream name, draw), never of batch, order, shard or device.

    One Rng serves one batch: row i of what it gives belongs to image i. A stream has no memory: asked twice, it gives
    the same numbers twice; ask :meth:`at` other names for other numbers.
    """

    def normal(self, shape: Size | tuple[int, ...]) -> Tensor:
        """Standard normal (B,...), float32 on the CPU."""
        ...

    def uniform(self, shape: Size | tuple[int, ...]) -> Tensor:
        """Uniform in [0,1), (B,...), float32 on the CPU."""
        ...

    def at(self, *name: Hashable) -> Rng:
        """The independent stream of that name below this one."""
        ...

    def shared(self, name: str) -> Rng:
        """The stream of that name that all methods share: they see the same noise, so comparisons vary less."""
        ...

    def repeat(self, n: int, first: int = 0) -> Rng:
        """For a batch in which each row stands n times in a row: draws first .. first+n-1 of each image."""
        ...

    def once(self, name: Hashable, tensor: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """``make(tensor)``, computed once: the same name, tensor object and stream give the same object again.

        All methods that ask for the same noisy batch get one tensor, and the probe answers what is asked of it by one
        pass. ``name`` must hold everything ``make`` depends on.
        """
        ...

    def scope(self) -> AbstractContextManager[None]:
        """What :meth:`once` makes inside, and all that becomes known of it, is forgotten at the end."""
        ...
