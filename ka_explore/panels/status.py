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
    """How a session stands, for the player."""

    run: str = ""  # the active branch
    step: int = 0  # steps done at the cursor
    steps: int = 0  # of all stages together
    recorded: int = 0  # steps with a row
    stage: str = ""  # of the next step
    doing: str = ""  # empty while it waits; plays, replays, forks, opens … as a verb
    target: int | None = None  # the step it goes to
    rate: float = 0.0  # steps a second, 0 while it waits
    elapsed: float = 0.0  # seconds that the recorded steps took
    remaining: float | None = None  # seconds to the target at this rate; None where that cannot be said
    error: str = ""  # what went wrong, until it is dismissed
    note: str = ""  # what is worth knowing and not wrong
    seen: int = 0  # the number of the last message that was taken up
    open: bool = True  # whether the run is open, not only its folder
    progress: str = ""  # what a step waits for and how far that is, in words


class View(Protocol):
    """What a session keeps up to date."""

    topics: frozenset[str]

    def refresh(self, changed: frozenset[str]) -> None:
        """Draw anew what these topics change."""
