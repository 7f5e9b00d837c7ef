"""A branch of a workbench: one run, live or on disk, as its views read it."""

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ka_explore.errors import StoreError
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store

if TYPE_CHECKING:
    from ka_explore.run.run import Row, Run

KEPT = 32  # snapshots in memory, a branch


class Branch:
    """A run and what was seen of it; views read it on their thread while the worker drives the run on its own."""

    def __init__(self, run: "Run | None" = None, folder: Path | None = None):
        if run is None and folder is None:
            raise ValueError("a branch is of a run or of a folder")
        self.run = run  # once somebody wants to drive it; a folder can be looked at without
        self.folder = run.folder if run is not None else Path(folder or "")
        self.store = Store(self.folder)  # of its own: a store that reads keeps its place in the files
        self.name = str(self.store.about["name"])  # how views call it
        self.rows: list[Row] = list(self.store.rows())  # what is recorded, a row a step; it only grows
        self.live: Snapshot | None = None  # of the step where the run stands, where none is stored of that step
        self._timed, self._seconds = 0, 0.0  # rows whose seconds are counted
        self._lock = threading.Lock()
        self._snapshots: dict[int, Snapshot] = {}  # the one that was asked for last at the end
        self._seen: tuple[int, Snapshot | None] = len(self.store.snapshot_steps()), None  # stored, and the live one

    @property
    def about(self) -> dict[str, Any]:
        """What the run is: method, options, seed, teachers, problem."""
        return self.store.about

    @property
    def parent(self) -> tuple[str, int] | None:
        """The run it was forked from, and the step."""
        parent = self.about["parent"]
        return None if parent is None else (str(parent[0]), int(parent[1]))

    @property
    def kept(self) -> bool:
        """Whether the folder stays when the kernel ends."""
        return self.run is None or not self.run.temporary

    @property
    def step(self) -> int:
        """Where the run stands; the last recorded step of a folder that is only looked at."""
        return self.run.step if self.run is not None else len(self.rows)

    def follow(self) -> bool:
        """Take in the rows that were recorded since; whether there were any."""
        if self.run is None:
            return False
        with self._lock:
            if (recorded := self.run.recorded) <= len(self.rows):
                return False
            self.store.rows_kept = recorded  # whole rows are in the file before they are counted
            self.rows.extend(self.store.rows(len(self.rows), recorded))
            return True

    def follow_snapshots(self) -> bool:
        """Whether there are other snapshots than when this was last asked."""
        if self.run is None:
            return False
        before, self._seen = self._seen, (len(self.store.snapshot_steps()), self.live)
        return self._seen[0] != before[0] or self._seen[1] is not before[1]

    def look(self) -> None:
        """See the step where the run stands, if no stored snapshot shows it; between two of its steps."""
        if self.run is not None:
            self.live = None if self.run.step in self.store.snapshot_steps() else self.run.snapshot()

    @property
    def elapsed(self) -> float:
        """Seconds that the recorded steps took."""
        for row in self.rows[self._timed :]:
            self._seconds += float(row.get("seconds", 0.0))
            self._timed += 1
        return self._seconds

    def steps_seen(self) -> list[int]:
        """The steps of which there is a snapshot, in order."""
        live = self.live
        return sorted({*self.store.snapshot_steps(), *([] if live is None else [live.step])})

    def snapshot(self, step: int) -> Snapshot | None:
        """A snapshot; None where there is none of that step, or it is damaged."""
        if (live := self.live) is not None and live.step == step:
            return live
        with self._lock:
            found = self._snapshots.pop(step, None)
            if found is None:
                try:
                    found = self.store.load_snapshot(step)
                except (StoreError, ValueError):
                    return None
            self._snapshots[step] = found
            if len(self._snapshots) > KEPT:
                del self._snapshots[next(iter(self._snapshots))]
            return found

    def move_to(self, folder: Path) -> None:
        """Go on in a copy of the folder; between two steps."""
        self.follow()
        with self._lock:
            self.folder = folder
            self.store = Store(folder)
            if self.run is not None:
                self.run.store = Store(folder)

    def amend(self, *, name: str | None = None, parent: tuple[str, int] | None = None) -> None:
        """Write a new name or parent into the folder, and let all who read it know."""
        self.store.amend(name=name, parent=parent)
        if self.run is not None and self.run.store is not self.store:
            self.run.store.about = self.store.about

    def rest(self) -> None:
        """Give back the memory that only a branch which is shown or plays needs; called on the worker's thread."""
        with self._lock:
            self._snapshots.clear()
            self.store.release()
        if self.run is not None:
            self.run.store.release()

    def nearest(self, step: float) -> int | None:
        """The step of a snapshot that lies nearest to a step; None where there is none at all."""
        steps = self.steps_seen()
        return min(steps, key=lambda seen: (abs(seen - step), seen)) if steps else None


def parent_of(branch: Branch, branches: Iterable[Branch]) -> Branch | None:
    """The branch that one was forked from, where it is among these."""
    if branch.parent is None:
        return None
    name, at = branch.parent
    mine = branch.about
    before = [[start, config] for start, config in mine["configs"] if start < at]

    def fits(other: Branch) -> tuple[bool, bool, bool]:
        theirs = [[start, config] for start, config in other.about["configs"] if start < at]
        beside = other.folder.parent == branch.folder.parent
        return other.about["seed"] == mine["seed"] and theirs == before, beside, other.name == name

    called = [other for other in branches if other is not branch and other.about["name"] == name]
    found = [other for other in called if all(other.about[key] == mine[key] for key in ("method", "fingerprints"))]
    return max(found, key=fits, default=None)


def plain_name(name: str) -> str:
    """A name that can be a folder's."""
    letters = (letter if letter.isprintable() and letter not in '/\\:*?"<>|' else " " for letter in name)
    return "".join(letters).strip(" .")


def name_of(changes: Mapping[str, Any]) -> str:
    """What is changed, in a few letters."""
    parts = [f"{option.replace('_', ' ')} {in_letters(value)}" for option, value in changes.items()]
    return plain_name(", ".join(parts)[:60])


def in_letters(value: Any) -> str:
    """An option's value in few letters."""
    if isinstance(value, (tuple, list)):
        return ", ".join(map(in_letters, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def numbered(name: str) -> Iterator[str]:
    """A name, and the same with a number behind it, from 2 on: to take the first that is free."""
    return (name if i == 1 else f"{name} {i}" for i in itertools.count(1))
