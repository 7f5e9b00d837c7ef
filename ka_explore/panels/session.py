"""The session of a workbench: its branches, what is selected and shown, and who is told when any of it changes.

Requests come from the browser, from cells and from tests, on any thread; they only note what is wanted. The driver
moves runs, the status thread tells how it stands several times a second, the view thread computes what panels draw.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from ka_explore.errors import InputError, unknown
from ka_explore.panels.branch import Branch, name_of, numbered, plain_name
from ka_explore.panels.channel import Channel
from ka_explore.panels.driver import Driver
from ka_explore.panels.status import Message, Status
from ka_explore.panels.threads import RenderThread, StatusThread
from ka_explore.run.run import Run

if TYPE_CHECKING:
    from ka_explore.problem.problem import Problem

MOST = 3  # branches that are compared


class Session:
    """What all panels of a workbench share; they never know each other.

    Args:
        branches: at least one, of one problem.
        problem: for folders that are driven on: what they are of, where it is not one of ``ka_explore.toy``.

    Attributes:
        branches: by name, in order; like ``active`` and ``shown`` only `arrange` sets it.
        active: the name of the branch that plays.
        shown: the names of those that all views compare, one to three.
        selection: samples by their indices in the probe set, in order.
        viewed_step: the step that all views show.
        panels: those that are asked by their id: ``answers`` are the verbs that a panel takes up, with ``answer``.
        deleted: the branch that was deleted last (`handling.Deleted`), for as long as it can be had back.
        said: what all trees of branches say: a note, or what went wrong; numbered, to be said again.
        driver: what moves the runs.
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
        self.selection: np.ndarray = np.zeros(0, np.int64)
        self.viewed_step = float(self.branch.step)
        self.seen = 0  # the number of the last message that was taken up
        self.panels: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._users: set[object] = set()
        self.closed = False
        self.deleted: Any = None
        self.said: dict[str, Any] = {"note": "", "error": "", "number": 0}
        self.driver = driver = Driver(self._moved, lambda *, urgent=True: self.notify(urgent=urgent), problem)
        self._views = views = RenderThread(lambda: self.busy, lambda: driver.render_interval, driver.fail)
        self._teller = StatusThread(lambda: self.status, lambda: driver.render_interval, self._follow, driver.fail)
        self.fail, self.pause = driver.fail, driver.stop
        self.join, self.changed, self.soon = views.join, views.changed, views.put
        self.tell, self.notify = self._teller.tell, self._teller.notify
        self.channel = Channel(self.receive)
        self.at_once: dict[str, Callable[[Message], object]] = {
            "play": lambda m: self.play(m.get("until")),
            "step": lambda m: self.play(self.branch.step + int(m.get("n", 1))),
            "pause": lambda _: self.pause(),
            "goto": lambda m: self.go_to(int(m["step"])),
            "stage": lambda _: self.play("stage"),
            "intervals": lambda m: driver.set_intervals(**{k: float(m[k]) for k in ("play", "render") if k in m}),
            "dismiss": lambda _: driver.dismiss(),
        }
        self.verbs: dict[str, Callable[[Message], object]] = {
            "select": lambda m: self.select(m.get("samples", ())),
            "place": lambda m: self.look_at(float(m["step"])),
        }
        if not self.branch.steps_seen():  # a run that was never advanced: where it begins is worth seeing
            driver.look_at_rest(self.branch)

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
        """Whether the driver has something at hand."""
        return bool(self.driver.doing)

    @property
    def error(self) -> str:
        """What went wrong, until it is dismissed."""
        return self.driver.error

    @property
    def status(self) -> Status:
        """How it stands now."""
        branch, run, driver = self.branch, self.branch.run, self.driver
        rows, target, rate = branch.rows, driver.target, driver.rate
        stage = (run.stage.name if run.stage else "") if run is not None else str(rows[-1]["stage"]) if rows else ""
        return Status(
            run=self.active,
            step=branch.step,
            steps=len(rows) if run is None else run.steps,
            recorded=len(rows),
            stage=stage,
            target=target,
            rate=rate,
            elapsed=branch.elapsed,
            remaining=None if target is None or not rate else max(target - branch.step, 0) / rate,
            seen=self.seen,
            open=run is not None,
            **{name: getattr(driver, name) for name in ("doing", "error", "note", "progress")},
        )

    def free_name(self, wanted: str, beside: Branch | None = None) -> str:
        """A name that no branch has, and no run beside a kept one: the wanted one, or with a number."""
        around = beside.folder.parent if beside is not None and beside.kept else None
        free = (name for name in numbered(wanted) if name not in self.branches)
        return next(name for name in free if around is None or not (around / name).exists())

    def known(self, name: str) -> Branch:
        """A branch by name. Raises InputError for an unknown one."""
        if name not in self.branches:
            raise unknown("branch", name, self.branches)
        return self.branches[name]

    def say(self, note: str = "", error: str = "") -> None:
        """Say this in all trees of branches, in place of what was said before."""
        self.said = {"note": note, "error": error, "number": self.said["number"] + 1}
        self.changed("branches")

    def forget(self, view: object) -> None:
        """Draw and tell a view no more."""
        self._views.forget(view)
        self._teller.forget(view)

    # What is asked, from any thread.

    def receive(self, message: Message) -> None:
        """Take up a message of the browser: ``{"do": verb, "number": …, …}``. It only notes what is wanted.

        Verbs of the player work at once (`at_once`); all others on the view thread: by the ``panel`` that is named, if
        it answers this verb, else by what `answer` was told.
        """
        verb = str(message.get("do", ""))
        number = message.get("number", 0)
        if isinstance(number, int):
            self.seen = max(self.seen, number)
        panel = self.panels.get(str(message.get("panel", "")))
        try:
            if verb in self.at_once:
                self.at_once[verb](message)
            elif panel is not None and verb in panel.answers:
                self.soon(partial(panel.answer, dict(message)))
            elif verb in self.verbs:
                self.soon(partial(self.verbs[verb], dict(message)))
            elif verb != "hello":
                raise unknown("request", verb, [*self.at_once, *self.verbs])
        except Exception as error:
            self.fail(error)
        self.notify()

    def answer(self, verb: str, answer: Callable[[Message], object]) -> None:
        """What a verb does, on the view thread."""
        self.verbs[verb] = answer

    # Moving the active run.

    def play(self, until: int | str | None = None) -> "Future[None]":
        """Train or replay up to a step, ``"stage"``, or the end for None; see `Driver.play`. Returns at once."""
        return self.driver.play(self.branch, until)

    def go_to(self, step: int) -> "Future[None]":
        """Stand at a recorded step; see `Driver.seek`. Returns at once."""
        return self.driver.seek(self.branch, step)

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
        parent = self.known(of or self.active)

        def made(run: Run) -> None:
            beside = self.shown[1 - MOST :] if parent.name in self.shown[1 - MOST :] else (parent.name,)
            self.arrange({**self.branches, run.name: Branch(run)}, active=run.name, shown=(*beside, run.name))
            self._rest()
            self.changed("rows", "snapshots")

        wanted = plain_name(name) or name_of(changes) or f"{parent.name} again"
        return self.driver.fork(parent, changes, at, lambda: self.free_name(wanted), made)

    def show(self, *names: str) -> None:
        """Compare these branches in every view: one to three. Raises InputError for others."""
        for name in names:
            self.known(name)
        if not 1 <= len(set(names)) == len(names) <= MOST:
            raise InputError(f"show({', '.join(map(repr, names))}): expected one to three different branches.")
        if self.active not in names:
            self.activate(names[0])
        self.arrange(shown=names)
        self._rest()

    def activate(self, name: str) -> None:
        """Make a branch the one that plays; what plays now is paused."""
        self.known(name)
        if name != self.active:
            self.pause()
        self.arrange(active=name, shown=self.shown if name in self.shown else (*self.shown[1 - MOST :], name))

    def arrange(
        self,
        branches: Mapping[str, Branch] | None = None,
        *,
        active: str | None = None,
        shown: Sequence[str] | None = None,
        viewed_step: float | None = None,
    ) -> None:
        """Other branches, another one that plays, others that are shown; what is None stays.

        Where another branch plays, the step that is looked at is this one, by default where it stands.
        """
        before = self.branch
        if branches is not None:
            self.branches = {**self.branches, **branches}  # readers on other threads find either name meanwhile
        self.active = active or self.active
        self.shown = tuple(shown or self.shown)
        if branches is not None:
            self.branches = dict(branches)
        if self.branch is not before:
            self.viewed_step = float(self.branch.step) if viewed_step is None else viewed_step
        self.changed("branches", "viewed_step")

    def _rest(self) -> None:
        """Have the branches that nobody looks at give their memory back."""

        def job() -> None:
            for name, branch in list(self.branches.items()):
                if name not in (*self.shown, self.active):
                    branch.rest()

        self.driver.do(job)

    # What is looked at.

    def select(self, samples: Sequence[int] | np.ndarray) -> None:
        """Select samples by their indices in the probe set; raises InputError for indices that are none."""
        wanted = np.unique(np.asarray(list(samples), np.int64))
        seen = self.branch.nearest(self.viewed_step)
        snapshot = None if seen is None else self.branch.snapshot(seen)
        count = 0 if snapshot is None else len(snapshot.index)
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= count):
            raise InputError(
                f"samples {wanted[0]} to {wanted[-1]}: expected places in the probe set, 0 to {count - 1}."
            )
        self.selection = wanted
        self.changed("selection")

    def look_at(self, step: float) -> None:
        """The step that all views show."""
        if step != self.viewed_step:
            self.viewed_step = step
            self.changed("viewed_step")

    # The threads.

    def _moved(self) -> None:
        """After a slice or a job of the driver, on its thread."""
        self._follow()
        if rests := self.driver.comes_to_rest():
            self.look_at(float(self.branch.step))
            self.driver.look_at_rest(self.branch)
        self.notify(urgent=rests)

    def _follow(self) -> None:
        """See what was recorded since, by the driver or by a cell that drives a run itself."""
        for branch in list(self.branches.values()):
            if branch.follow():
                self.changed("rows")
            if branch.follow_snapshots():
                self.changed("snapshots")

    def enter(self, user: object) -> None:
        """Keep the session open for as long as this user holds it, or until it leaves."""
        self._users.add(user)

    def leave(self, user: object) -> None:
        """The user needs the session no more; the last one closes it."""
        self._users.discard(user)
        if not self._users:
            self.close()

    def close(self) -> None:
        """End the driver and the threads; runs and folders stay as they are."""
        if not self.closed:
            self.driver.close()
            self.closed = True
            self._teller.close()
            self._views.close()
            self.channel.close()
