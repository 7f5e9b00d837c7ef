"""The session of a workbench: its branches, what is selected and shown, and who is told when any of it changes.

Requests come from the browser, from cells and from tests, on any thread; they only note what is wanted. The worker
drives runs, the status thread tells how it stands several times a second, the view thread computes what panels draw.
"""

import itertools
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from ka_explore.errors import Diverged, InputError, KaError, unknown
from ka_explore.panels.branch import Branch
from ka_explore.panels.moving import going, look_at_rest, opened, playing
from ka_explore.panels.pace import Pace
from ka_explore.panels.status import Status, View
from ka_explore.panels.threads import RenderThread, StatusThread
from ka_explore.panels.widget import Channel
from ka_explore.panels.worker import Worker, nothing
from ka_explore.run.run import Run

if TYPE_CHECKING:
    from ka_explore.problem.problem import Problem


class Session:
    """What all panels of a workbench share; they never know each other.

    Args:
        branches: at least one, of one problem.
        problem: for folders that are driven on: what they are of, where it is not one of ``ka_explore.toy``.
    """

    def __init__(self, branches: Sequence[Branch], problem: "Problem | None" = None):
        if not branches:
            raise InputError("a workbench needs at least one run, got none.")
        self.id = uuid4().hex
        self.problem = problem
        self.branches: dict[str, Branch] = {}
        for branch in branches:
            branch.name = self.free_name(branch.name)
            self.branches[branch.name] = branch
        self.active = next(iter(self.branches))
        self.shown: tuple[str, ...] = (self.active,)
        self.selection: np.ndarray = np.zeros(0, np.int64)  # places in the probe set, in order
        self.place: float = float(self.branch.step)  # the step that is looked at
        self.play_interval = 0.0  # seconds between two steps at least
        self.render_interval = 0.25  # seconds between two pictures at least
        self.doing = ""
        self.target: int | None = None
        self.error = self.note = self.progress = ""
        self.seen = 0
        self.pace = Pace()
        self.verbs: dict[str, Callable[[Mapping[str, Any]], object]] = {}
        self.at_once: dict[str, Callable[[Mapping[str, Any]], object]] = {}
        self._users: set[object] = set()
        self._closed = False
        self._status_thread = StatusThread(lambda: self.status, lambda: self.render_interval, self._followed, self.fail)
        self._render_thread = RenderThread(lambda: self.busy, lambda: self.render_interval, self.fail)
        self.worker = Worker(self._moved, self._failed, self._watched)
        self.channel = Channel(self.receive)
        self._answer_itself()
        if not self.branch.steps_seen():  # a run that was never advanced: where it begins is worth seeing
            self.worker.do(lambda: look_at_rest(self))

    # What there is.

    @property
    def branch(self) -> Branch:
        """The active branch: the one that plays."""
        return self.branches[self.active]

    @property
    def compared(self) -> list[Branch]:
        """The branches that all views show, in order."""
        return [self.branches[name] for name in self.shown]

    @property
    def busy(self) -> bool:
        """Whether the worker has something at hand."""
        return bool(self.doing)

    @property
    def status(self) -> Status:
        """How it stands now."""
        branch, run = self.branch, self.branch.run
        rows = branch.rows
        if run is not None:
            step, steps, stage = run.step, run.steps, run.stage.name if run.stage else ""
        else:
            step, stage = len(rows), str(rows[-1]["stage"]) if rows else ""
            steps = len(rows)
        rate = self.pace.rate if self.doing in ("plays", "replays") else 0.0
        left = None if self.target is None or not rate else max(self.target - step, 0) / rate
        return Status(
            self.active, step, steps, len(rows), stage, self.doing, self.target, rate, branch.elapsed, left,
            self.error, self.note, self.seen, run is not None,
        )  # fmt: skip

    def free_name(self, wanted: str) -> str:
        """A name that no branch has: the wanted one, or with a number."""
        if wanted not in self.branches:
            return wanted
        return next(name for i in itertools.count(2) if (name := f"{wanted} {i}") not in self.branches)

    # Who is told.

    def join(self, view: View) -> None:
        """Keep a view up to date for as long as somebody holds it."""
        self._render_thread.join(view)

    def tell(self, listener: Callable[[Status], None]) -> None:
        """Call a method with every change of the status, on the status thread, for as long as its object lives."""
        self._status_thread.tell(listener)

    def forget(self, view: object) -> None:
        """Draw and tell a view no more."""
        self._render_thread.forget(view)
        self._status_thread.forget(view)

    def later(self, seconds: float, *topics: str) -> None:
        """The same as `changed`, after a while."""
        timer = threading.Timer(seconds, self.changed, topics)
        timer.daemon = True
        timer.start()

    def changed(self, *topics: str) -> None:
        """Views that look at these topics are drawn anew, soon, on the view thread."""
        self._render_thread.changed(*topics)

    # What is asked, from any thread.

    def receive(self, message: Mapping[str, Any]) -> None:
        """Take up a message of the browser: ``{"do": verb, "number": …, …}``. It only notes what is wanted.

        Verbs of the player work at once (`at_once`); all others on the view thread (`verbs`). Panels add theirs with
        `answer`.
        """
        verb = str(message.get("do", ""))
        number = message.get("number", 0)
        if isinstance(number, int):
            self.seen = max(self.seen, number)
        try:
            if verb in self.at_once:
                self.at_once[verb](message)
            elif verb in self.verbs:
                self._render_thread.ask(self.verbs[verb], dict(message))
            elif verb != "hello":
                raise unknown("request", verb, [*self.at_once, *self.verbs])
        except Exception as error:
            self.fail(error)
        self.notify()

    def answer(self, verb: str, answer: Callable[[Mapping[str, Any]], object], *, at_once: bool = False) -> None:
        """What a verb does: at once on whatever thread the message came (it must only note), or on the view thread."""
        (self.at_once if at_once else self.verbs)[verb] = answer

    def _answer_itself(self) -> None:
        at_once: dict[str, Callable[[Mapping[str, Any]], object]] = {
            "play": lambda m: self.play(m.get("until")),
            "step": lambda m: self.play(self.branch.step + int(m.get("n", 1))),
            "pause": lambda _: self.pause(),
            "goto": lambda m: self.go_to(int(m["step"])),
            "stage": lambda _: self.play("stage"),
            "intervals": self._intervals,
            "dismiss": lambda _: self.dismiss(),
        }
        for verb, answer in at_once.items():
            self.answer(verb, answer, at_once=True)
        self.answer("select", lambda m: self.select(m.get("samples", ())))
        self.answer("place", lambda m: self.look_at(float(m["step"])))

    def _intervals(self, message: Mapping[str, Any]) -> None:
        self.play_interval = min(max(float(message.get("play", self.play_interval)), 0.0), 10.0)
        self.render_interval = min(max(float(message.get("render", self.render_interval)), 0.1), 10.0)

    # Moving the active run.

    def play(self, until: int | str | None = None) -> "Future[None]":
        """Train, or replay what is recorded, up to a step, ``"stage"`` for the end of the stage, or the end for None.

        Returns at once; what is returned is done when the run stands there, or was paused.
        """
        name = self.active
        self.dismiss()
        self.doing = "plays"
        return self.worker.start(lambda: playing(self, name, until))

    def pause(self) -> None:
        """Stop after the step at hand."""
        self.worker.stop()

    def settle(self) -> None:
        """Wait until what was asked of the worker is done, and the step where it stands is seen."""
        while self.busy:
            self.worker.do(nothing).result()
        self.worker.do(nothing).result()

    def go_to(self, step: int) -> "Future[None]":
        """Stand at a recorded step: the nearest checkpoint, then replay."""
        name = self.active
        self.dismiss()
        self.doing = "replays"
        return self.worker.start(lambda: going(self, name, step))

    def open(self) -> "Future[Run]":
        """Open the active branch, if it is only a folder so far."""
        name = self.active
        return self.worker.do(lambda: opened(self, name))

    # Branches.

    def fork(
        self, changes: Mapping[str, Any], *, name: str = "", of: str | None = None, at: int | None = None
    ) -> "Future[Run]":
        """A new branch with other options from a step on; it is shown beside its parent and plays next.

        Args:
            changes: options by name.
            name: by default what is changed.
            of: the parent; by default the active branch.
            at: a recorded step; by default where the parent stands.
        """
        parent = of or self.active
        self.dismiss()
        self.worker.stop()
        self.doing, self.target = "forks", None
        self.notify()

        def job() -> Run:
            self.doing = "forks"
            try:
                source = opened(self, parent)
                called = self.free_name(plain_name(name) or name_of(changes) or f"{parent} again")
                made = source.fork(called, at=at, **changes)
                branch = Branch(made)
                branch.name = called
                self.branches[called] = branch
                self.active = called
                self.shown = (*self.shown[-2:], called) if parent in self.shown[-2:] else (parent, called)
                self.place = float(made.step)
                return made
            except Exception as error:
                self.fail(error)
                raise
            finally:
                self.doing = ""
                self._rest()
                self.changed("branches", "rows", "snapshots", "place")

        return self.worker.do(job)

    def show(self, *names: str) -> None:
        """Compare these branches in every view: one to three. Raises InputError for others."""
        for name in names:
            if name not in self.branches:
                raise unknown("branch", name, self.branches)
        if not 1 <= len(set(names)) <= 3 or len(set(names)) != len(names):
            raise InputError(f"show({', '.join(map(repr, names))}): expected one to three different branches.")
        self.shown = tuple(names)
        if self.active not in names:
            self.activate(names[0])
        self._rest()
        self.changed("branches")

    def _rest(self) -> None:
        """Have the branches that nobody looks at give their memory back."""

        def job() -> None:
            for name, branch in list(self.branches.items()):
                if name not in (*self.shown, self.active):
                    branch.rest()

        self.worker.do(job)

    def activate(self, name: str) -> None:
        """Make a branch the one that plays; what plays now is paused."""
        if name not in self.branches:
            raise unknown("branch", name, self.branches)
        if name != self.active:
            self.worker.stop()
            self.active = name
            self.place = float(self.branch.step)
        if name not in self.shown:
            self.shown = (*self.shown[1:], name) if len(self.shown) == 3 else (*self.shown, name)
        self.changed("branches", "place")

    # What is looked at.

    def select(self, samples: Sequence[int] | np.ndarray) -> None:
        """Select samples of the probe set by their places; raises InputError for places that are none."""
        wanted = np.unique(np.asarray(list(samples), np.int64))
        seen = self.branch.nearest(self.place)
        first = None if seen is None else self.branch.snapshot(seen)
        count = 0 if first is None else len(first.index)
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= count):
            raise InputError(
                f"samples {wanted[0]} to {wanted[-1]}: expected places in the probe set, 0 to {count - 1}."
            )
        self.selection = wanted
        self.changed("selection")

    def look_at(self, step: float) -> None:
        """The step that all views show."""
        if step != self.place:
            self.place = step
            self.changed("place")

    # What goes wrong.

    def fail(self, error: BaseException) -> None:
        """Show what went wrong in the player, in words; the trace of what is not ours as well."""
        if isinstance(error, KaError):
            self.error = str(error)
        else:
            trace = "".join(traceback.format_tb(error.__traceback__)[-3:])
            self.error = f"{type(error).__name__}: {error}" + (f"\n{trace}" if trace else "")
        self.notify()

    def _failed(self, error: BaseException) -> None:
        self.fail(error)
        if isinstance(error, Diverged):
            self.note = "the run stands at the step before; fork it with other options."

    def dismiss(self) -> None:
        """Forget what went wrong."""
        self.error = self.note = ""
        self.notify()

    # The threads.

    def _moved(self) -> None:
        """After a slice or a job of the worker, on its thread."""
        self._followed()
        if self.worker.idle and self.doing:
            self.doing, self.target = "", None
            self.place = float(self.branch.step)
            self.changed("place")
            self.notify()
            self.worker.do(lambda: look_at_rest(self))
        self._status_thread.notify(urgent=False)

    def _followed(self) -> None:
        """See what was recorded since, by the worker or by a cell that drives a run itself."""
        for branch in list(self.branches.values()):
            if branch.follow():
                self.changed("rows")
            if branch.follow_snapshots():
                self.changed("snapshots")

    def _watched(self, what: str, share: float) -> None:
        """How far long work is that a step waits for: asking the teachers, opening a run."""
        self.progress = "" if share >= 1 else f"{what}: {share:.0%}"
        self._status_thread.notify(urgent=False)

    def notify(self) -> None:
        """Tell at once how it stands."""
        self._status_thread.notify()

    def enter(self, user: object) -> None:
        """Keep the session open for as long as this user holds it, or until it leaves."""
        self._users.add(user)

    def leave(self, user: object) -> None:
        """The user needs the session no more; the last one closes it."""
        self._users.discard(user)
        if not self._users:
            self.close()

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return self._closed

    def close(self) -> None:
        """End the worker and the threads; runs and folders stay as they are."""
        if not self._closed:
            self.worker.close()
            self._closed = True
            self._status_thread.close()
            self._render_thread.close()
            self.channel.close()


def plain_name(name: str) -> str:
    """A name that can be a folder's."""
    letters = (letter if letter.isprintable() and letter not in '/\\:*?"<>|' else " " for letter in name)
    return "".join(letters).strip(" .")


def name_of(changes: Mapping[str, Any]) -> str:
    """What is changed, in a few letters."""

    def said(value: Any) -> str:
        if isinstance(value, (tuple, list)):
            return ", ".join(map(said, value))
        return f"{value:g}" if isinstance(value, float) else str(value)

    parts = [f"{option.replace('_', ' ')} {said(value)}" for option, value in changes.items()]
    return plain_name(", ".join(parts)[:60])
