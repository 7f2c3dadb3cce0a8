"""Counts model passes, and what each method would have needed by itself, though passes are shared."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Spent:
    """Model passes, in images (a batch of 8 counts 8), and seconds."""

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0


@dataclass(eq=False)
class Bill(Spent):
    """What a pass took that several may use. Each of its users pays all of it, once, as if it had been alone."""

    paid: set[Hashable] = field(default_factory=set)


@dataclass
class Counts:
    """Model passes so far, in images. ``before_pass`` is called before each; ``wait`` until the device has done what it
    was given, so that clocks tell the truth.

    ``spent`` says by user what it took, as if nobody else had been there.
    """

    forward: int = 0
    backward: int = 0
    before_pass: Callable[[], None] = field(default=lambda: None, repr=False)
    wait: Callable[[], None] = field(default=lambda: None, repr=False)
    spent: dict[Hashable, Spent] = field(default_factory=dict, repr=False)
    _user: Hashable = None
    _bill: Bill | None = None

    def add(self, forward: int = 0, backward: int = 0) -> None:
        """Count a pass that is about to be made."""
        self.before_pass()
        self.forward += forward
        self.backward += backward
        account = self._bill or self.spent.get(self._user)
        if account is not None:
            account.forward += forward
            account.backward += backward

    @contextmanager
    def used_by(self, user: Hashable) -> Iterator[None]:
        """What happens inside is for ``user``."""
        account, before = self.spent.setdefault(user, Spent()), self._user
        self._user, start = user, self._now()
        try:
            yield
        finally:
            account.seconds += self._now() - start
            self._user = before

    @contextmanager
    def shared(self) -> Iterator[Bill]:
        """What happens inside may be used again: it goes on the bill, which the user at hand pays as all others do."""
        bill, start = Bill(), self._now()
        self._bill = bill
        try:
            yield bill
        finally:
            self._bill = None
            bill.seconds = self._now() - start
            if self._user is not None:  # whose own clock ran on meanwhile
                self.spent[self._user].seconds -= bill.seconds
            self.use(bill)

    def use(self, bill: Bill) -> None:
        """The user at hand uses what is on the bill."""
        if self._user is None or self._user in bill.paid:
            return
        bill.paid.add(self._user)
        account = self.spent[self._user]
        account.forward += bill.forward
        account.backward += bill.backward
        account.seconds += bill.seconds

    def _now(self) -> float:
        self.wait()
        return time.perf_counter()
