"""What a session says of itself: how it stands, and what of it can change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

TOPICS = frozenset({"rows", "snapshots", "selection", "branches", "findings", "viewed_step"})
"""What can change: recorded rows, snapshots seen, the selection, the set of branches or which are shown, what the
diagnosis found, and the step that is looked at."""

Message = Mapping[str, Any]
"""What the browser asks: ``{"do": verb, "number": …, …}``."""


@dataclass(frozen=True)
class Status:
    """How a session stands, for the player.

    Attributes:
        run: the active branch.
        step: steps done at the cursor.
        steps: of all stages together.
        recorded: steps with a row.
        stage: of the next step.
        doing: ``""`` while it waits; ``plays``, ``replays``, ``forks``, ``opens`` … as a verb.
        target: the step it goes to.
        rate: steps a second, 0 while it waits.
        elapsed: seconds that the recorded steps took.
        remaining: seconds to the target at this rate; None where that cannot be said.
        error: what went wrong, until it is dismissed.
        note: what is worth knowing and not wrong.
        seen: the number of the last message that was taken up.
        open: whether the run is open, not only its folder.
        progress: what a step waits for and how far that is, in words.
    """

    run: str = ""
    step: int = 0
    steps: int = 0
    recorded: int = 0
    stage: str = ""
    doing: str = ""
    target: int | None = None
    rate: float = 0.0
    elapsed: float = 0.0
    remaining: float | None = None
    error: str = ""
    note: str = ""
    seen: int = 0
    open: bool = True
    progress: str = ""


class View(Protocol):
    """What a session keeps up to date."""

    topics: frozenset[str]

    def refresh(self, changed: frozenset[str]) -> None:
        """Draw anew what these topics change."""
