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
    """Model passes an image, forward and backward together: as computed, and if each method ran by itself."""

    shared: int
    unshared: int


def passes(methods: Iterable[tuple[Explainer, Hashable]], inputs: tuple[int, ...]) -> Passes:
    """For methods with the target each explains, on inputs (C,H,W). About, since needs are hints."""
    channels, height, width = inputs
    about = Shape((channels, height, width))
    shared, unshared = 1, 0  # one clean forward pass chooses and scores all targets
    forward: dict[Hashable, int] = {(CLEAN, PLAIN, None): 1}
    backward: dict[Hashable, int] = {}
    for method, target in methods:
        unshared += 1
        for ask in method.needs(about):
            unshared += _alone(ask)
            # a plain text names a batch of the method's own, which nobody else asks about
            if ask.verb not in _OF_ONE_BATCH or (isinstance(ask.of, str) and ask.of != CLEAN):
                shared += _alone(ask)
                continue
            # what is made of noise is made for each target anew
            key = (ask.of, ask.rule, None if ask.of == CLEAN else target)
            forward[key] = max(forward.get(key, 0), ask.passes)
            backward[(key, target)] = max(backward.get((key, target), 0), ask.backwards)
    return Passes(shared + sum(forward.values()) - 1 + sum(backward.values()), unshared)


def _alone(ask: Ask) -> int:
    """Passes beyond the clean forward pass that every method has."""
    known = ask.of == CLEAN and ask.rule == PLAIN and ask.verb in ("outputs", "score", *_OF_ONE_BATCH)
    return ask.passes - known + ask.backwards
