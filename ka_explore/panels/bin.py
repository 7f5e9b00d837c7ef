"""What was deleted from a session and can be had back for a while, and what its trees say."""

import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ka_explore.panels.branch import Branch

if TYPE_CHECKING:
    from ka_explore.panels.session import Session

UNDO = 60.0  # seconds for which a branch that was deleted can be had back


@dataclass
class Deleted:
    """A branch that was deleted, how the session was before, and what was shown and active just after."""

    branch: Branch
    order: list[str]
    shown: tuple[str, ...]
    active: str
    folder: Path
    place: float
    moved: Path | None = None
    then: tuple[tuple[str, ...], str] = ((), "")


@dataclass
class Bin:
    """What can be had back, and what all trees of a session say.

    Attributes:
        deleted: the branch deleted last, for as long as it can be had back.
        note: what is worth knowing.
        error: what went wrong, until something else is asked.
    """

    deleted: Deleted | None = None
    note: str = ""
    error: str = ""
    number: int = 0
    timer: threading.Timer | None = field(default=None, repr=False)

    def said(self) -> dict[str, Any]:
        """For the browser."""
        gone = self.deleted
        place = "" if gone is None or gone.moved is None else f" (its folder is in {gone.moved})"
        return {
            "note": self.note,
            "error": self.error,
            "number": self.number,
            "deleted": "" if gone is None else gone.branch.name,
            "where": place,
        }

    def say(self, note: str = "", error: str = "") -> None:
        """Say this, in place of what was said before."""
        self.note, self.error, self.number = note, error, self.number + 1

    def put(self, session: "Session", was: Deleted) -> None:
        """A branch was deleted; the one before is gone for good."""
        self.take()
        self.deleted = was
        here = weakref.ref(session)

        def over() -> None:
            at = here()
            if at is not None and bin_of(at).deleted is was:
                bin_of(at).take()
                at.worker.do(nothing)  # or its last job, the deletion, would hold the branch
                at.changed("branches")

        self.timer = threading.Timer(UNDO, over)
        self.timer.daemon = True
        self.timer.start()

    def take(self) -> None:
        """Nothing can be had back any more."""
        if self.timer is not None:
            self.timer.cancel()
        self.deleted, self.timer = None, None
        self.say()


def nothing() -> None:
    """A job that does nothing."""


BINS: "weakref.WeakKeyDictionary[Session, Bin]" = weakref.WeakKeyDictionary()


def bin_of(session: "Session") -> Bin:
    """What was deleted from a session and what is to be said there."""
    return BINS.setdefault(session, Bin())
