"""Backward rules: functions replaced during one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Function = Callable[..., Any]


def _nothing() -> Mapping[Function, Function]:
    return {}


@dataclass(frozen=True)
class Rule:
    """What a pass replaces: guided ReLU for ReLU, an LRP rule for a convolution.

    ``make()`` gives a fresh ``{function: replacement}`` for every pass (replacements may keep state for its length).
    ``passes`` are differentiable functions that may run unchanged; any other one raises, and so does a rule that met
    nothing to replace: a rule is never half applied in silence. Consecutive ``rows`` of a batch are never split
    between chunks (DeepLIFT puts each input beside its baseline). With ``relevance`` the pass starts with each output's
    part in the score, output times d score / d output, in place of the gradient; a score that is not the sum of these
    parts (a probability) raises NotApplicable. Rules with equal ``name`` and ``params`` are equal.
    """

    name: str
    params: tuple[tuple[str, object], ...] = ()
    make: Callable[[], Mapping[Function, Function]] = field(default=_nothing, compare=False, repr=False)
    passes: frozenset[Function] = field(default=frozenset(), compare=False, repr=False)
    rows: int = 1
    relevance: bool = False


PLAIN = Rule("plain")
"""The model as it is."""
