"""Tensors the framework hands out to several methods at once, with the answers already known about them.

Only what is handed out is remembered, and only while it is in use: the clean batch for the length of a batch, a noisy
batch for one step of draws. Tensors are recognised by identity, never by content.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Handout:
    """One tensor and what is known of it. ``name`` is how needs refer to it."""

    tensor: Tensor
    name: Hashable
    answers: dict[Hashable, Any] = field(default_factory=dict)
    watched: list[tuple[Tensor, int]] = field(default_factory=list)
    _source: Tensor | None = None  # kept alive, so that its id stays its own

    def watch(self, *tensors: Tensor) -> None:
        """Notice from now on whether anybody writes into these, which everybody is given."""
        # those of torch.inference_mode have no counter; they cannot be written into outside of it either
        self.watched += [(t, t._version) for t in tensors if not t.is_inference()]


class Handouts:
    """All tensors currently handed out."""

    def __init__(self) -> None:
        self._kept: dict[int, Handout] = {}
        self._draws: dict[int, Handout] = {}
        self._made: dict[Hashable, Handout] = {}

    def keep(self, tensor: Tensor, name: Hashable) -> Tensor:
        """Remember answers about ``tensor`` until :meth:`clear`."""
        self._kept[id(tensor)] = Handout(tensor, name)
        return tensor

    def once(self, key: Hashable, name: Hashable, tensor: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """``make(tensor)``, made once for this key and tensor and remembered until :meth:`end_step`."""
        full = (key, id(tensor))
        if full not in self._made:
            made = Handout(make(tensor), name, _source=tensor)
            made.watch(made.tensor)
            self._made[full] = made
            self._draws[id(made.tensor)] = made
        return self._made[full].tensor

    def find(self, tensor: Tensor) -> Handout | None:
        """The handout that is this very object."""
        return self._kept.get(id(tensor)) or self._draws.get(id(tensor))

    def drop_answers(self) -> None:
        """Forget what is known, not what is handed out: the model changed and was put back, its graphs are void."""
        for handout in (*self._kept.values(), *self._draws.values()):
            handout.answers.clear()
            handout.watched.clear()

    def own(self, tensor: Tensor) -> Tensor:
        """The tensor, or a copy where it is one that everybody is given, and somebody may yet write into."""
        place = tensor.untyped_storage().data_ptr()
        shared = (t for h in (*self._kept.values(), *self._draws.values()) for t, _ in h.watched)
        return tensor.clone() if any(t.untyped_storage().data_ptr() == place for t in shared) else tensor

    def written(self) -> bool:
        """Whether anybody wrote into what everybody is given; then all of it but what is kept is forgotten."""
        handouts = (*self._kept.values(), *self._draws.values())
        if all(t._version == version for h in handouts for t, version in h.watched):
            return False
        self.drop_answers()
        self.end_step()
        return True

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is made inside is forgotten at the end; what was there before stays."""
        draws, made = dict(self._draws), dict(self._made)
        try:
            yield
        finally:
            self._draws, self._made = draws, made

    def end_step(self) -> None:
        """Forget the noisy batches; what is kept stays."""
        self._draws.clear()
        self._made.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.end_step()
        self._kept.clear()
