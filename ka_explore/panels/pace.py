"""How fast a run goes just now, and how much may be spent on looking at it."""

import time
from collections import deque

WINDOW = 2.0  # seconds that the rate is a mean over
LOOKING = 0.02  # of the time that may be spent on snapshots which are only looked at


class Pace:
    """Steps and seconds of the last moments."""

    def __init__(self) -> None:
        self._slices: deque[tuple[float, int, float]] = deque()  # (when it ended, steps, seconds)
        self._look_at = 0.0

    def begin(self) -> None:
        """Forget what was; a run begins to play."""
        self._slices.clear()
        self._look_at = time.monotonic() + 1.0

    def add(self, steps: int, seconds: float) -> None:
        """A slice of so many steps took so long."""
        now = time.monotonic()
        self._slices.append((now, steps, seconds))
        while len(self._slices) > 1 and self._slices[0][0] < now - WINDOW:
            self._slices.popleft()

    @property
    def rate(self) -> float:
        """Steps a second, 0 where there were none."""
        slices = tuple(self._slices)
        seconds = sum(part[2] for part in slices)
        return sum(part[1] for part in slices) / seconds if seconds else 0.0

    def steps_in(self, seconds: float) -> int:
        """How many steps fit into so many seconds; at least one, and one where nothing is known yet."""
        return max(int(self.rate * seconds), 1)

    @property
    def may_look(self) -> bool:
        """Whether it is time for a look that is not stored: after the interval, and what the last look cost allows."""
        return time.monotonic() >= self._look_at

    def looked(self, cost: float, interval: float) -> None:
        """A look took so many seconds."""
        self._look_at = time.monotonic() + max(interval, cost / LOOKING)
