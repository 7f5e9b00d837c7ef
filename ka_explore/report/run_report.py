"""A run with what was kept of it: its snapshots, loaded once, and the last word of every probe."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ka_explore.errors import StoreError
from ka_explore.probes import PROBES
from ka_explore.probes.over_steps import first_answer, over_steps
from ka_explore.probes.results import Curves
from ka_explore.probes.samples import evenly
from ka_explore.run.snapshot import Snapshot

if TYPE_CHECKING:
    from ka_explore.report.stored import StoredRun
    from ka_explore.run.run import Run

MOST = 40  # snapshots that are looked at: more make a page heavier, not clearer
KEEP = "Snapshots are stored with snapshot_every=50, on the command line --snapshots 50."


class RunReport:
    """A run as it is told at its step, under a name, its features drawn by PCA and in one more way.

    It shares the axes of its pictures with the runs ``beside`` it on the page.
    """

    def __init__(
        self,
        run: "Run | StoredRun",
        name: str = "",
        embedding: Literal["pca", "tsne", "umap"] = "pca",
        beside: Sequence["Run | StoredRun"] = (),
    ):
        self.run, self.name, self.embedding = run, name or run.name, embedding
        self.stores = [run.store, *(other.store for other in beside if other is not run)]
        self.notes = list(run.notes)

    @cached_property
    def snapshots(self) -> list[Snapshot]:
        """Those stored before the cursor, evenly thinned where they are many, and how things are now."""
        now = self.run.snapshot()
        steps = [step for step in self.run.store.snapshot_steps() if step < now.step]
        found = []
        for step in evenly(steps, MOST - 1):
            try:
                found.append(self.run.store.load_snapshot(step))
            except StoreError as error:
                self.notes.append(f"{error} It is left out.")
        return [*found, now]

    @property
    def last(self) -> Snapshot:
        """How things are now."""
        return self.snapshots[-1]

    @property
    def nets(self) -> tuple[str, ...]:
        """The student and the teachers, in order."""
        return ("student", *self.last.teachers)

    def having(self, prefix: str) -> Snapshot | None:
        """The last snapshot with arrays under a prefix; before the first step only if none was done."""
        trained = (s for s in reversed(self.snapshots) if s.step > 0 or self.run.step == 0)
        return next((s for s in trained if any(name.split("/")[0] == prefix for name in s.arrays)), None)

    def latest(self, probe: str, **options: Any) -> Any:
        """What a probe says of the last snapshot that has what it needs; the error of the last where none has."""
        return first_answer(PROBES[probe], reversed(self.snapshots), **options)

    def over_steps(self, probe: str, **options: Any) -> Curves | None:
        """A probe over the steps; None where fewer than two snapshots have what it needs."""
        curves = over_steps(PROBES[probe], self.snapshots, **options)
        return curves if max(map(len, curves.x.values()), default=0) > 1 else None

    def has(self, prefix: str) -> bool:
        """Whether any snapshot has arrays under a prefix."""
        return any(name.split("/")[0] == prefix for s in self.snapshots for name in s.arrays)


def names_of(runs: "Sequence[Run | StoredRun]") -> list[str]:
    """The runs' names; where two have the same, with their places behind them."""
    names = [run.name for run in runs]
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, start=1)]
