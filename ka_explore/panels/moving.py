"""How a desk moves its runs: tasks of the worker that play, replay and look, a slice at a time."""

import contextlib
import time
from typing import TYPE_CHECKING

from ka_explore.errors import InputError, KaError
from ka_explore.panels.branch import Branch
from ka_explore.panels.worker import Task
from ka_explore.run import Run

if TYPE_CHECKING:
    from ka_explore.panels.desk import Desk

SLICE = 0.06  # seconds of training after which the worker looks up


def playing(desk: "Desk", name: str, until: int | str | None) -> Task:
    """Train or replay up to a step, the end of the stage (``"stage"``) or the end of the run (None)."""
    run = opened(desk, name)
    if until is None:
        target = run.steps
    elif until == "stage":
        target = next((end for end in run.boundaries[1:] if end > run.step), run.steps)
    else:
        target = min(int(until), run.steps)
    desk.target = target
    yield from advancing(desk, name, run, target)


def going(desk: "Desk", name: str, step: int) -> Task:
    """Stand at a recorded step: the nearest checkpoint, then replay. Raises InputError for a step without a row."""
    run = opened(desk, name)
    desk.target = step
    if not 0 <= step <= run.recorded:
        raise InputError(f"step {step} is not recorded: 0 to {run.recorded} are. Press play to get there.")
    if step < run.step or any(run.step < kept <= step for kept in run.checkpoints):
        run.rewind(max(kept for kept in run.checkpoints if kept <= step))
        yield 0.0
    yield from advancing(desk, name, run, step)


def advancing(desk: "Desk", name: str, run: Run, target: int) -> Task:
    """Steps in slices; where it ends, the desk looks at the step once it has said that it waits."""
    branch = desk.branches[name]
    desk.pace.begin()
    while run.step < target:
        desk.doing = "replays" if run.step < run.recorded else "plays"
        count = 1 if desk.play_interval else desk.pace.steps_in(SLICE)
        begun, before = time.perf_counter(), run.step
        run.advance(min(count, target - run.step), progress=False)
        spent = time.perf_counter() - begun
        desk.pace.add(run.step - before, max(spent, desk.play_interval))
        look_between(desk, branch, run)
        time.sleep(0.0005)  # let a cell that waits for its turn have it
        yield max(desk.play_interval - spent, 0.0)


def look_at_rest(desk: "Desk") -> None:
    """See the step where the active run stands; left out where it is to go on at once."""
    branch = desk.branch
    if branch.run is not None and desk.worker.idle:
        with contextlib.suppress(KaError):
            look(desk, branch, branch.run)


def look(desk: "Desk", branch: Branch, run: Run) -> None:
    """See the step where the run stands, if no stored snapshot shows it."""
    if run.step in branch.store.snapshot_steps():
        branch.live = None
    else:
        branch.live = run.snapshot()
    desk.changed("snapshots")


def look_between(desk: "Desk", branch: Branch, run: Run) -> None:
    """While it plays: see the step at hand as often as that costs little and stored snapshots are rare."""
    if run.step < run.recorded or not desk.pace.may_look:
        return
    begun = time.perf_counter()
    look(desk, branch, run)
    desk.pace.looked(time.perf_counter() - begun, desk.render_interval)


def opened(desk: "Desk", name: str) -> Run:
    """The run of a branch, opened if it is only a folder so far."""
    branch = desk.branches[name]
    if branch.run is None:
        doing, desk.doing = desk.doing, "opens"
        desk.stir()
        branch.run = Run.open(branch.folder, desk.problem)
        desk.note = " ".join(branch.run.notes)
        desk.doing = doing
    return branch.run
