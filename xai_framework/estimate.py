"""What a study will cost, from what its methods say they need."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from xai_framework.core.explainer import CLEAN, Ask, Explainer, Shape
from xai_framework.core.rule import PLAIN

_OF_ONE_BATCH = ("gradient", "layers")
"""Verbs whose answers about one batch under one rule come from the same pass."""


@dataclass(frozen=True)
class Passes:
    """Model passes an image: as they are computed, and if each method ran by itself."""

    forward: int
    backward: int
    forward_alone: int
    backward_alone: int

    @property
    def shared(self) -> int:
        """All that are made."""
        return self.forward + self.backward

    @property
    def unshared(self) -> int:
        """All that would be made if nothing were shared."""
        return self.forward_alone + self.backward_alone


def passes(methods: Iterable[tuple[Explainer, Hashable]], inputs: tuple[int, ...]) -> Passes:
    """For methods with the target each explains, on inputs (C,H,W). About, since needs are hints."""
    channels, height, width = inputs
    about = Shape((channels, height, width))
    extra_forward = extra_backward = forward_alone = backward_alone = 0
    # one clean forward pass chooses and scores all targets
    forward: dict[Hashable, int] = {(CLEAN, PLAIN, None): 1}
    backward: dict[Hashable, int] = {}
    for method, target in methods:
        forward_alone += 1
        for ask in method.needs(about):
            forward_alone += _beyond_the_clean(ask)
            backward_alone += ask.backwards
            # a plain text names a batch of the method's own, which nobody else asks about
            if ask.verb not in _OF_ONE_BATCH or (isinstance(ask.of, str) and ask.of != CLEAN):
                extra_forward += _beyond_the_clean(ask)
                extra_backward += ask.backwards
                continue
            # what is made of noise is made for each target anew
            key = (ask.of, ask.rule, None if ask.of == CLEAN else target)
            forward[key] = max(forward.get(key, 0), ask.passes)
            backward[(key, target)] = max(backward.get((key, target), 0), ask.backwards)
    return Passes(
        sum(forward.values()) + extra_forward, sum(backward.values()) + extra_backward, forward_alone, backward_alone
    )


def _beyond_the_clean(ask: Ask) -> int:
    """Forward passes beyond the clean one that every method has."""
    known = ask.of == CLEAN and ask.rule == PLAIN and ask.verb in ("outputs", "score", *_OF_ONE_BATCH)
    return ask.passes - known
