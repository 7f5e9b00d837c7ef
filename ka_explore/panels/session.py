"""The session of a workbench: its branches, what is selected and shown, and who is told when any of it changes.

A panel's state goes from Python to the browser only, the channel's messages from the browser to Python only: nothing
that Python publishes decides on which of the kernel's threads a click arrives. Requests come from the browser, from
cells and from tests, on any thread; they only note what is wanted. The driver moves runs, the status thread tells how
it stands several times a second, the view thread computes what panels draw.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anywidget
import numpy as np

from ka_explore.errors import InputError, brief, unknown
from ka_explore.panels.branch import Branch, name_of, numbered, plain_name
from ka_explore.panels.driver import Driver
from ka_explore.panels.status import Message, Status
from ka_explore.panels.threads import RenderThread, StatusThread

if TYPE_CHECKING:
    from ka_explore.problem.problem import Problem
    from ka_explore.run.run import Run

MOST = 3  # branches that are compared


class Session:
    """What all panels of a workbench share; they never know each other.

    It has at least one branch; folders are driven on with ``problem``, where theirs is not one of ``ka_explore.toy``.
    """

    def __init__(self, branches: Sequence[Branch], problem: "Problem | None" = None):
        if not branches:
            raise InputError("a workbench needs at least one run, got none.")
        self.id = uuid4().hex
        self.problem = problem
        self._made_of = tuple(branches)
        self.branches: dict[str, Branch] = {}  # by name, in order; like `active` and `shown` only `arrange` sets it
        for branch in branches:
            branch.name = self.free_name(branch.name)
            self.branches[branch.name] = branch
        self.active = next(iter(self.branches))  # the name of the branch that plays
        self.shown: tuple[str, ...] = (self.active,)  # the names of those that all views compare, one to three
        self.selection: np.ndarray = np.zeros(0, np.int64)  # samples by their indices in the probe set, in order
        self.viewed_step = float(self.branch.step)  # the step that all views show
        self.seen = 0  # the number of the last message that was taken up
        # Panels by their id: `answers` are the verbs that one takes up itself, with `answer`, on the view thread.
        self.panels: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._users: set[object] = set()
        self.closed = False
        self.deleted: Any = None  # the branch that was deleted last (`handling.Deleted`), while it can be had back
        self.said: dict[str, Any] = {"note": "", "error": "", "number": 0}  # in all trees; numbered, to be said again
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
            "look": lambda m: self.look_at(float(m["step"])),
        }
        if not self.branch.steps_seen():  # a run that was never advanced: where it begins is worth seeing
            driver.do(partial(driver.look_at_rest, self.branch))

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
            run=self.active, step=branch.step, steps=len(rows) if run is None else run.steps, recorded=len(rows),
            stage=stage, target=target, rate=rate, elapsed=branch.elapsed, seen=self.seen, open=run is not None,
            remaining=None if target is None or not rate else max(target - branch.step, 0) / rate,
            **{name: getattr(driver, name) for name in ("doing", "error", "note", "progress")},
        )  # fmt: skip

    def free_name(self, wanted: str, beside: Branch | None = None) -> str:
        """A name that no branch has, and no run beside a kept one: the wanted one, or with a number."""
        around = beside.folder.parent if beside is not None and beside.kept else None
        free = (name for name in numbered(wanted) if name not in self.branches)
        return next(name for name in free if around is None or not (around / name).exists())

    def is_of(self, parts: "Sequence[tuple[Run | None, Path]]") -> bool:
        """Whether it is open, was made of these runs, by their folders where they are not open, and has them still."""
        there = [] if self.closed else list(self.branches.values())
        return len(parts) == len(self._made_of) and all(
            branch in there and (branch.run is run if run else branch.folder.resolve() == folder.resolve())
            for branch, (run, folder) in zip(self._made_of, parts, strict=True)
        )

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
        if isinstance(number := message.get("number", 0), int):
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

        By default it is called by what is changed, the parent is the active branch, and the step is where that stands.
        """
        parent = self.known(of or self.active)
        wanted = plain_name(name) or name_of(changes) or f"{parent.name} again"

        def job() -> "Run":
            run = self.driver.opened(parent).fork(self.free_name(wanted), at=at, **changes)
            beside = self.shown[1 - MOST :] if parent.name in self.shown[1 - MOST :] else (parent.name,)
            self.arrange({**self.branches, run.name: Branch(run)}, active=run.name, shown=(*beside, run.name))
            self.driver.do(self._rest)
            self.changed("rows", "snapshots")
            return run

        return self.driver.do_instead("forks", job)

    def show(self, *names: str) -> None:
        """Compare these branches in every view: one to three. Raises InputError for others."""
        for name in names:
            self.known(name)
        if not 1 <= len(set(names)) == len(names) <= MOST:
            raise InputError(f"show({', '.join(map(repr, names))}): expected one to three different branches.")
        if self.active not in names:
            self.activate(names[0])
        self.arrange(shown=names)
        self.driver.do(self._rest)

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
        """Have the branches that nobody looks at give their memory back; on the driver's thread."""
        for name, branch in list(self.branches.items()):
            if name not in (*self.shown, self.active):
                branch.rest()

    # What is looked at.

    def select(self, samples: Sequence[int] | np.ndarray) -> None:
        """Select samples by their indices in the probe set; raises InputError for indices that are none."""
        asked = np.asarray(samples)
        if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
            raise InputError(f"samples must be places in the probe set, whole numbers, got {brief(samples)}.")
        wanted = np.unique(asked.astype(np.int64))
        seen = self.branch.nearest(self.viewed_step)
        snapshot = None if seen is None else self.branch.snapshot(seen)
        last = -1 if snapshot is None else len(snapshot.index) - 1
        if len(wanted) and (wanted[0] < 0 or wanted[-1] > last):
            raise InputError(f"samples {wanted[0]} to {wanted[-1]}: expected places in the probe set, 0 to {last}.")
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
            self.driver.do(partial(self.driver.look_at_rest, self.branch))
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
            self.channel.layout.close()


class Channel(anywidget.AnyWidget):
    """Carries what users ask from the browser to Python; nothing is ever published on it.

    ipykernel 7 hands a comm's messages to the thread on which Python last published on this comm: after creation in a
    cell that is the main thread, where a click would wait for the running cell. Forgetting who published lets the
    page's own choice stand, which is a thread beside the cells. Version 6 has no such threads: there messages wait.
    """

    _esm = "export default { render() {} };\n"

    def __init__(self, receive: Callable[[Message], None]):  # on whatever thread the kernel calls
        super().__init__()
        self.on_msg(lambda _widget, message, _buffers: receive(message))
        self._forget_publisher()

    def send_state(self, *arguments: Any, **named: Any) -> None:
        """The state, for a page that was loaded anew while a cell runs; then forget who published it."""
        super().send_state(*arguments, **named)
        self._forget_publisher()

    def _forget_publisher(self) -> None:
        with suppress(AttributeError):
            del self.comm._reply_subshell_id
