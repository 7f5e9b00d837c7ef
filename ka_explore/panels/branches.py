"""The panel of branches: which plays, which are compared, and a hand for all that can be done with them."""

import contextlib
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import numpy as np
import traitlets

from ka_explore.errors import KaError
from ka_explore.panels.branch import Branch
from ka_explore.panels.handling import Deleted, delete, keep_named, open_more, rename, show_or_hide, undo
from ka_explore.panels.layout import Room
from ka_explore.panels.session import Session
from ka_explore.panels.status import Message
from ka_explore.panels.tree import tree_of
from ka_explore.panels.widget import Panel, source
from ka_explore.probes.agreement import agreement


class Branches(Panel):
    """The runs of a session as a tree of forks, and what can be done with them."""

    _esm = source("shared.js", "controls.js", "branches.js")
    _css = source("shared.css", "branches.css")
    topics = frozenset({"branches", "rows", "snapshots"})
    room = Room(204, 252, beside="what_if")

    tree: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    said = traitlets.Dict().tag(sync=True)

    def __init__(self, session: Session):
        self._agreements: weakref.WeakKeyDictionary[Branch, tuple[int, dict[str, float]]] = weakref.WeakKeyDictionary()
        super().__init__(session)
        answer_branches(session)
        session.soon(self._look_on)

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """A line a branch, parents before their forks, and what is to be said."""
        if "snapshots" in changed:
            for branch in self.session.compared:
                self._look(branch)
        was: Deleted | None = self.session.deleted
        gone = {"deleted": was.branch.name if was else "", "where": was.where if was else ""}
        return {"tree": tree_of(self.session, self._agreements), "said": self.session.said | gone}

    def summary(self) -> str:
        """The branches, which plays and how far they are."""
        session = self.session
        parts = [
            f"{name}{' (plays)' if name == session.active else ''}: step {branch.step}"
            for name, branch in session.branches.items()
        ]
        return f"branches: {'; '.join(parts)}"

    def _look(self, branch: Branch) -> bool:
        """Find how far a branch agrees with its teachers, if that is not known of its last snapshot."""
        steps = branch.steps_seen()
        if not steps or self._agreements.get(branch, (-1, {}))[0] == steps[-1]:
            return False
        snapshot = branch.snapshot(steps[-1])
        found: dict[str, float] = {}
        if snapshot is not None:
            with contextlib.suppress(KeyError, ValueError, KaError):
                found = {k: float(v) for k, v in agreement(snapshot).values.items() if np.isfinite(v)}
        self._agreements[branch] = steps[-1], found
        return True

    def _look_on(self) -> None:
        """Look at one more branch, and come back for the next: what else is asked comes between."""
        if any(self._look(branch) for branch in list(self.session.branches.values())):
            self.refresh({"branches"})
            self.session.soon(self._look_on)


# What the browser asks


def answer_branches(session: Session) -> None:
    """Let a session answer what its trees ask; what goes wrong is said in the trees."""
    here = weakref.ref(session)
    verbs: dict[str, Callable[[Session, Message], Future[Any] | None]] = {
        "activate": lambda at, m: at.activate(str(m["name"])),
        "show": lambda at, m: show_or_hide(at, str(m["name"]), bool(m["shown"])),
        "rename": lambda at, m: rename(at, str(m["name"]), str(m["new"])),
        "keep": lambda at, m: keep_named(at, str(m["name"])),
        "delete": lambda at, m: delete(at, str(m["name"])),
        "undelete": lambda at, _: undo(at),
        "open": lambda at, m: open_more(at, str(m["folder"])),
    }

    def failed(error: BaseException | None) -> None:
        """Say it in the trees; what is not ours in the player as well, with its trace."""
        at = here()
        if at is not None and error is not None:
            at.say(error=str(error))
            if not isinstance(error, KaError):
                at.fail(error)

    def answered(message: Message) -> None:
        at = here()
        if at is None:
            return
        at.say()
        try:
            future = verbs[message["do"]](at, message)
        except KaError as error:
            failed(error)
            return
        if future is not None:
            future.add_done_callback(lambda done: None if done.cancelled() else failed(done.exception()))

    for verb in verbs:
        session.answer(verb, answered)
