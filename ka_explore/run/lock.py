"""Turns at one thing that several threads want: one after the other, in the order in which they came."""

from threading import Lock, RLock, get_ident
from typing import Any


class FairLock:
    """A lock for a ``with``: its thread may enter again, all others wait, and nobody overtakes who waits.

    A plain lock lets a thread that gives it back and asks again at once go first, so that a training loop would keep
    everyone else out for as long as it trains.
    """

    def __init__(self) -> None:
        self._turn = RLock()
        self._next = Lock()  # held by whoever is next, so that the others queue behind
        self._owner: int | None = None
        self._entered = 0

    def __enter__(self) -> "FairLock":
        if self._owner == get_ident():
            self._turn.acquire()
        else:
            with self._next:
                self._turn.acquire()
            self._owner = get_ident()
        self._entered += 1
        return self

    def __exit__(self, *_error: Any) -> None:
        self._entered -= 1
        if not self._entered:
            self._owner = None
        self._turn.release()
