"""What moves the runs of a session: it plays, replays, forks and looks, a slice at a time.

Whoever asks gets an answer at once, on any thread; what was asked is done on the driver's own.
"""

import contextlib
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ka_explore.errors import Diverged, InputError, KaError
from ka_explore.panels.branch import Branch
from ka_explore.panels.worker import Task, Worker

if TYPE_CHECKING:
    from ka_explore.problem.problem import Problem
    from ka_explore.run.run import Run

SLICE = 0.06  # seconds of training after which the worker looks up
WINDOW = 2.0  # seconds that the rate is a mean over
LOOKING = 0.02  # of the time that may be spent on snapshots which are only looked at


class Driver(Worker):
    """Drives one run at a time."""

    def __init__(
        self,
        moved: Callable[[], None],  # called on its thread after every slice and every job
        notify: Callable[..., None],  # it stands otherwise than before; ``urgent=False`` where nobody waits for that
        problem: "Problem | None",  # of folders that are driven on, where it is not one of ``ka_explore.toy``
    ):
        self.doing = self.error = self.note = self.progress = ""  # as in `Status`
        self.target: int | None = None
        self.play_interval, self.render_interval = 0.0, 0.25  # seconds between two steps, two pictures at least
        self._slices: deque[tuple[float, int, float]] = deque()  # of late: when it ended, its steps, and seconds
        self._look_at = 0.0  # when there may be looked at a step again that is not stored
        self._notify, self._problem = notify, problem
        super().__init__(moved, self._explain, self._watched)

    @property
    def rate(self) -> float:
        """Steps a second, 0 while it does not play."""
        slices = tuple(self._slices) if self.doing in ("plays", "replays") else ()
        seconds = sum(spent for _, _, spent in slices)
        return sum(steps for _, steps, _ in slices) / seconds if seconds else 0.0

    def set_intervals(self, play: float | None = None, render: float | None = None) -> None:
        """How fast to play and how often to draw, within reason."""
        self.play_interval = min(max(self.play_interval if play is None else play, 0.0), 10.0)
        self.render_interval = min(max(self.render_interval if render is None else render, 0.1), 10.0)

    # What is asked, from any thread.

    def play(self, branch: Branch, until: int | str | None = None) -> "Future[None]":
        """Train, or replay what is recorded, up to a step, ``"stage"`` for the end of the stage, or the end for None.

        What is returned is done when the run stands there, or was paused.
        """
        return self._begin("plays", lambda: self._playing(branch, until))

    def seek(self, branch: Branch, step: int) -> "Future[None]":
        """Stand at a recorded step: the nearest checkpoint, then replay. InputError for a step without a row."""
        return self._begin("replays", lambda: self._seeking(branch, step))

    def do_instead(self, doing: str, job: Callable[[], Any]) -> "Future[Any]":
        """Pause what plays, then do a job, and say so meanwhile; what goes wrong is told."""
        self.dismiss()
        self.stop()
        self.doing, self.target = doing, None
        self._notify()

        def told() -> Any:
            self.doing = doing
            try:
                return job()
            except Exception as error:
                self.fail(error)
                raise
            finally:
                self.doing = ""

        return self.do(told)

    def look_at_rest(self, branch: Branch) -> None:
        """See the step where a run stands, on its thread; left out where a run is to go on at once."""
        if branch.run is not None and self.idle:
            with contextlib.suppress(KaError):
                branch.look()

    def settle(self) -> None:
        """Wait until what was asked is done, and the step where it stands is seen."""
        while self.doing:
            self.do().result()
        self.do().result()

    # How it stands.

    def comes_to_rest(self) -> bool:
        """Whether what it did is over; it then says that it waits. Asked on its thread, after every slice."""
        rests = bool(self.doing) and self.idle
        if rests:
            self.doing, self.progress, self.target = "", "", None
        return rests

    @contextlib.contextmanager
    def doing_meanwhile(self, doing: str) -> Iterator[None]:
        """Say that it does something else for a while, on its thread."""
        before, self.doing = self.doing, doing
        self._notify()
        try:
            yield
        finally:
            if self.doing == doing:
                self.doing = before
            self._notify()

    def fail(self, error: BaseException) -> None:
        """Say what went wrong, in words; the trace of what is not ours as well."""
        if isinstance(error, KaError):
            self.error = str(error)
        else:
            trace = "".join(traceback.format_tb(error.__traceback__)[-3:])
            self.error = f"{type(error).__name__}: {error}" + (f"\n{trace}" if trace else "")
        self._notify()

    def dismiss(self) -> None:
        """Forget what went wrong."""
        self.error = self.note = ""
        self._notify()

    def _explain(self, error: BaseException) -> None:
        self.fail(error)
        if isinstance(error, Diverged):
            self.note = "the run stands at the step before; fork it with other options."

    def _watched(self, what: str, share: float) -> None:
        """How far long work is that a step waits for: asking the teachers, opening a run."""
        self.progress = "" if share >= 1 else f"{what}: {share:.0%}"
        self._notify(urgent=False)

    # What is done, on its thread.

    def opened(self, branch: Branch) -> "Run":
        """The run of a branch, opened if it is only a folder so far. Raises InputError where there is no torch."""
        if branch.run is None:
            try:
                from ka_explore.run.run import Run
            except ModuleNotFoundError as error:
                needs = f"to train or rewind {branch.name!r} needs {error.name}: pip install {error.name}"
                raise InputError(f"{needs}. What is stored can be looked at without.") from None
            with self.doing_meanwhile("opens"):
                branch.run = Run.open(branch.folder, self._problem)
            self.note = " ".join(branch.run.notes)
        return branch.run

    def _begin(self, doing: str, task: Callable[[], Task]) -> "Future[None]":
        self.dismiss()
        self.doing = doing
        return self.start(task)

    def _playing(self, branch: Branch, until: int | str | None) -> Task:
        run = self.opened(branch)
        target = run.steps if until is None else until
        if target == "stage":
            target = next((end for end in run.boundaries[1:] if end > run.step), run.steps)
        yield from self._advancing(branch, run, min(int(target), run.steps))

    def _seeking(self, branch: Branch, step: int) -> Task:
        run = self.opened(branch)
        if not 0 <= step <= run.recorded:
            raise InputError(f"step {step} is not recorded: 0 to {run.recorded} are. Press play to get there.")
        if step < run.step or any(run.step < kept <= step for kept in run.checkpoints):
            run.rewind(max(kept for kept in run.checkpoints if kept <= step))
            yield 0.0
        yield from self._advancing(branch, run, step)

    def _advancing(self, branch: Branch, run: "Run", target: int) -> Task:
        """Steps in slices; where it ends, the session looks at the step once the driver has said that it waits."""
        self.target, self._look_at = target, time.monotonic() + 1.0
        self._slices.clear()
        while run.step < target:
            self.doing = "replays" if run.step < run.recorded else "plays"
            count = 1 if self.play_interval else max(int(self.rate * SLICE), 1)
            begun, before = time.perf_counter(), run.step
            run.advance(min(count, target - run.step), progress=False)
            spent = time.perf_counter() - begun
            now = time.monotonic()
            self._slices.append((now, run.step - before, max(spent, self.play_interval)))
            while len(self._slices) > 1 and self._slices[0][0] < now - WINDOW:
                self._slices.popleft()
            if run.step >= run.recorded and now >= self._look_at:  # as often as costs little
                begun = time.perf_counter()
                branch.look()
                cost = time.perf_counter() - begun
                self._look_at = time.monotonic() + max(self.render_interval, cost / LOOKING)
            time.sleep(0.0005)  # let a cell that waits for its turn have it
            yield max(self.play_interval - spent, 0.0)
