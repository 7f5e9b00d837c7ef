"""Long work on the view thread in short pieces, so that what users ask comes between them."""

import time
from collections.abc import Callable, Generator

SLICE = 0.05  # seconds of work before the view thread looks up

Work = Generator[None, None, None]
"""What is done in pieces: it yields after each."""


class Pieces:
    """The work at hand, and what comes after it; ``ask`` is called when there is more to do by `go_on`."""

    def __init__(self, ask: Callable[[], None]):
        self._asks = ask
        self._work: Work | None = None
        self._next: Work | None = None
        self._asked = False  # only while there is work

    @property
    def at_hand(self) -> bool:
        """Whether there is work."""
        return self._work is not None

    def prepare(self, work: Work) -> None:
        """Have some work done from the next `go_on` on; what was at hand is given up."""
        self._work = work
        self._ask()

    def then(self, work: Work) -> None:
        """Begin when what is at hand is done, now where nothing is; only the last that was asked for is done."""
        if self._work is None:
            self._work = work
            self.go_on()
        else:
            self._next = work

    def go_on(self) -> None:
        """Work for a slice, then ask for the rest."""
        self._asked = False
        until = time.perf_counter() + SLICE
        while self._work is not None and time.perf_counter() < until:
            if next(self._work, self) is self:
                self._work, self._next = self._next, None
        self._ask()

    def _ask(self) -> None:
        if self._work is not None and not self._asked:
            self._asked = True
            self._asks()
