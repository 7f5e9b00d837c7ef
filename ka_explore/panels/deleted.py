"""What was deleted from a session and can be had back for a while, and what its trees say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ka_explore.panels.branch import Branch


@dataclass
class Deleted:
    """A branch that was deleted, how the session was before, and what was shown and active just after."""

    branch: Branch
    order: list[str]
    shown: tuple[str, ...]
    active: str
    folder: Path
    viewed_step: float
    moved: Path | None = None
    then: tuple[tuple[str, ...], str] = ((), "")


@dataclass
class Bin:
    """What can be had back, and what all trees of a session say.

    Attributes:
        deleted: the branch deleted last, for as long as it can be had back.
        note: what is worth knowing.
        error: what went wrong, until something else is asked.
        number: of what is said, so that the same can be said again.
    """

    deleted: Deleted | None = None
    note: str = ""
    error: str = ""
    number: int = 0

    def said(self) -> dict[str, Any]:
        """For the browser."""
        gone = self.deleted
        return {
            "note": self.note,
            "error": self.error,
            "number": self.number,
            "deleted": "" if gone is None else gone.branch.name,
            "where": "" if gone is None or gone.moved is None else f" (its folder is in {gone.moved})",
        }

    def say(self, note: str = "", error: str = "") -> None:
        """Say this, in place of what was said before."""
        self.note, self.error, self.number = note, error, self.number + 1

    def hold(self, deleted: Deleted | None) -> None:
        """This can be had back, in place of what was before; of that nothing is said any more."""
        self.deleted = deleted
        self.say()
