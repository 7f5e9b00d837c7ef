"""The player: play, pause, step, rewind by dragging; one timeline that every view shares."""

from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import traitlets

from ka_explore.panels.branch import Branch
from ka_explore.panels.layout import Room
from ka_explore.panels.session import Session
from ka_explore.panels.status import Status
from ka_explore.panels.widget import Panel, source

MARKS = 400  # checkpoints and snapshots drawn on the timeline at most; beyond that every second one, and so on


class Player(Panel):
    """Transport and timeline of the active branch."""

    _esm = source("shared.js", "controls.js", "player.js")
    _css = source("shared.css", "player.css")
    topics = frozenset({"snapshots", "branches"})
    room = Room(0, 0)

    status = traitlets.Dict().tag(sync=True)
    timeline = traitlets.Dict().tag(sync=True)
    intervals = traitlets.Dict().tag(sync=True)

    def __init__(self, session: Session):
        super().__init__(session)
        session.tell(self._told)

    def _told(self, status: Status) -> None:
        self.status = asdict(status)

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """The timeline's marks; the status comes by itself."""
        session, driver = self.session, self.session.driver
        state: dict[str, Any] = {"timeline": timeline(session.branch, list(session.branches.values()))}
        if frozenset(changed) == self.topics:
            state["status"] = asdict(session.status)
            state["intervals"] = {"play": driver.play_interval, "render": driver.render_interval}
        return state

    def summary(self) -> str:
        """Where the active branch stands."""
        status = self.session.status
        at = f"step {status.step} of {status.steps}" if status.steps else "no steps"
        return f"{status.run}: {at}" + (f", stage {status.stage}" if status.stage else "")


def timeline(branch: Branch, branches: Iterable[Branch]) -> dict[str, Any]:
    """Stages, checkpoints, snapshots and forks of a branch, by step.

    Of a folder that is not opened only what is recorded is known.
    """
    run = branch.run
    if run is not None:
        stages = [[stage.name, *ends] for stage, ends in zip(run.stages, pairwise(run.boundaries), strict=False)]
        steps, checkpoints = run.steps, list(run.checkpoints)
    else:
        parts = [(name, [row["step"] for row in rows]) for name, rows in groupby(branch.rows, key=itemgetter("stage"))]
        stages = [[name, recorded[0] - 1, recorded[-1]] for name, recorded in parts]
        steps, checkpoints = len(branch.rows), branch.store.checkpoint_steps()
    forks = [[other.name, other.parent[1]] for other in branches if other.parent and other.parent[0] == branch.name]
    if branch.parent is not None:
        forks.append([f"⎇ of {branch.parent[0]}", branch.parent[1]])
    seen = branch.steps_seen()
    marks = {"checkpoints": thinned(checkpoints), "snapshots": thinned(seen), "seen": len(seen)}
    return {"steps": steps, "stages": stages, "forks": forks, **marks}


def thinned(steps: list[int]) -> list[int]:
    """Every k-th of so many marks, and the last."""
    every = -(-len(steps) // MARKS) or 1
    return sorted({*steps[::every], *steps[-1:]})
