"""A saved run as it is told of by what its folder holds, without its problem and without torch."""

from functools import cached_property
from typing import Any

from ka_explore.errors import InputError
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store

NEEDS = "This needs the run's problem, and torch: this page tells what is stored."


class StoredRun:
    """What a report asks of a run, answered by its folder alone; it has no ``problem``."""

    problem = None

    def __init__(self, store: Store):
        about = store.about
        self.store, self.folder, self.name, self.seed = store, store.folder, str(about["name"]), about["seed"]
        self.step = self.steps = store.rows_kept
        self.parent = about["parent"]
        self.notes: list[str] = []

    def history(self) -> list[dict[str, Any]]:
        """All recorded rows."""
        return list(self.store.rows())

    def snapshot(self) -> Snapshot:
        """The last that is stored. Raises InputError where none is."""
        return self._last

    @cached_property
    def _last(self) -> Snapshot:
        steps = self.store.snapshot_steps()
        if not steps:
            raise InputError(f"no snapshot is stored in {self.folder}: a report of it needs its problem, and torch.")
        return self.store.load_snapshot(steps[-1])
