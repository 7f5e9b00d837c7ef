"""How a session moves its runs: tasks of the worker that play, replay and look, a slice at a time."""

import contextlib
import time
from typing import TYPE_CHECKING

from ka_explore.errors import InputError, KaError
from ka_explore.panels.branch import Branch
from ka_explore.panels.worker import Task
from ka_explore.run.run import Run

if TYPE_CHECKING:
    from ka_explore.panels.session import Session

SLICE = 0.06  # seconds of training after which the worker looks up


def playing(session: "Session", name: str, until: int | str | None) -> Task:
    """Train or replay up to a step, the end of the stage (``"stage"``) or the end of the run (None)."""
    run = opened(session, name)
    if until is None:
        target = run.steps
    elif until == "stage":
        target = next((end for end in run.boundaries[1:] if end > run.step), run.steps)
    else:
        target = min(int(until), run.steps)
    session.target = target
    yield from advancing(session, name, run, target)


def going(session: "Session", name: str, step: int) -> Task:
    """Stand at a recorded step: the nearest checkpoint, then replay. Raises InputError for a step without a row."""
    run = opened(session, name)
    session.target = step
    if not 0 <= step <= run.recorded:
        raise InputError(f"step {step} is not recorded: 0 to {run.recorded} are. Press play to get there.")
    if step < run.step or any(run.step < kept <= step for kept in run.checkpoints):
        run.rewind(max(kept for kept in run.checkpoints if kept <= step))
        yield 0.0
    yield from advancing(session, name, run, step)


def advancing(session: "Session", name: str, run: Run, target: int) -> Task:
    """Steps in slices; where it ends, the session looks at the step once it has said that it waits."""
    branch = session.branches[name]
    session.pace.begin()
    while run.step < target:
        session.doing = "replays" if run.step < run.recorded else "plays"
        count = 1 if session.play_interval else session.pace.steps_in(SLICE)
        begun, before = time.perf_counter(), run.step
        run.advance(min(count, target - run.step), progress=False)
        spent = time.perf_counter() - begun
        session.pace.add(run.step - before, max(spent, session.play_interval))
        look_between(session, branch, run)
        time.sleep(0.0005)  # let a cell that waits for its turn have it
        yield max(session.play_interval - spent, 0.0)


def look_at_rest(session: "Session") -> None:
    """See the step where the active run stands; left out where it is to go on at once."""
    branch = session.branch
    if branch.run is not None and session.worker.idle:
        with contextlib.suppress(KaError):
            look(session, branch, branch.run)


def look(session: "Session", branch: Branch, run: Run) -> None:
    """See the step where the run stands, if no stored snapshot shows it."""
    if run.step in branch.store.snapshot_steps():
        branch.live = None
    else:
        branch.live = run.snapshot()
    session.changed("snapshots")


def look_between(session: "Session", branch: Branch, run: Run) -> None:
    """While it plays: see the step at hand as often as that costs little and stored snapshots are rare."""
    if run.step < run.recorded or not session.pace.may_look:
        return
    begun = time.perf_counter()
    look(session, branch, run)
    session.pace.looked(time.perf_counter() - begun, session.render_interval)


def opened(session: "Session", name: str) -> Run:
    """The run of a branch, opened if it is only a folder so far."""
    branch = session.branches[name]
    if branch.run is None:
        doing, session.doing = session.doing, "opens"
        session.notify()
        branch.run = Run.open(branch.folder, session.problem)
        session.note = " ".join(branch.run.notes)
        session.doing = doing
    return branch.run
