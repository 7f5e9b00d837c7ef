"""The panel of branches: which plays, which are compared, and a hand for all that can be done with them."""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import traitlets

from ka_explore.errors import KaError
from ka_explore.panels.bin import bin_of
from ka_explore.panels.branch import Branch
from ka_explore.panels.handling import delete, keep_named, open_more, rename, show_or_hide, undo
from ka_explore.panels.tree import tree_of
from ka_explore.panels.widget import Panel, source
from ka_explore.probes.agreement import agreement

if TYPE_CHECKING:
    from ka_explore.panels.session import Session


class Branches(Panel):
    """The runs of a session as a tree of forks, and what can be done with them."""

    _esm = source("shared.js", "copying.js", "branches.js")
    _css = source("shared.css", "branches.css")
    topics = frozenset({"branches", "rows", "snapshots"})

    tree: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    said = traitlets.Dict().tag(sync=True)

    def __init__(self, session: "Session"):
        self._agreements: weakref.WeakKeyDictionary[Branch, tuple[int, dict[str, float]]] = weakref.WeakKeyDictionary()
        self._verb = f"agreements {uuid4().hex}"
        super().__init__(session)
        mine = weakref.WeakMethod(self._look_on)
        session.answer(self._verb, lambda _: (look := mine()) and look())
        answer_branches(session)
        session.receive({"do": self._verb})

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """A line a branch, parents before their forks, and what is to be said."""
        if "snapshots" in changed:
            for branch in self.session.compared:
                self._look(branch)
        return {"tree": tree_of(self.session, self._agreements), "said": bin_of(self.session).said()}

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
            if not self.session.closed:
                self.session.receive({"do": self._verb})


# What the browser asks


def answer_branches(session: "Session") -> None:
    """Let a session answer what its trees ask; what goes wrong is said in the trees."""
    here = weakref.ref(session)

    def answer(verb: str, act: Callable[["Session", Mapping[str, Any]], "Future[Any] | None"]) -> None:
        def answered(message: Mapping[str, Any]) -> None:
            at = here()
            if at is None:
                return
            bin_of(at).say()
            try:
                future = act(at, message)
            except KaError as error:
                failed(at, error)
                return
            at.changed("branches")
            if future is not None:
                future.add_done_callback(lambda done: ended(at, done))

        session.answer(verb, answered)

    answer("activate", lambda at, m: at.activate(str(m["name"])))
    answer("show", lambda at, m: show_or_hide(at, str(m["name"]), bool(m["shown"])))
    answer("rename", lambda at, m: rename(at, str(m["name"]), str(m["new"])))
    answer("keep", lambda at, m: keep_named(at, str(m["name"])))
    answer("delete", lambda at, m: delete(at, str(m["name"])))
    answer("undelete", lambda at, _: undo(at))
    answer("open", lambda at, m: open_more(at, str(m["folder"])))


def ended(session: "Session", future: "Future[Any]") -> None:
    """Say what went wrong, where it did."""
    with contextlib.suppress(CancelledError):
        error = future.exception()
        if error is not None:
            failed(session, error)


def failed(session: "Session", error: BaseException) -> None:
    """Say it in the trees; what is not ours in the player as well, with its trace."""
    bin_of(session).say(error=str(error))
    if not isinstance(error, KaError):
        session.fail(error)
    session.changed("branches")
