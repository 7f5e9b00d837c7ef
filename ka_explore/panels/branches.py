"""The panel of branches: a tree of forks, which plays, which are compared, and a hand for all that can be done."""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import traitlets

from ka_explore.errors import KaError
from ka_explore.panels.branch import Branch, in_letters, parent_of
from ka_explore.panels.forking import differing_names
from ka_explore.panels.handling import Deleted, delete, keep_named, open_more, rename, show_or_hide, undo
from ka_explore.panels.layout import Room
from ka_explore.panels.session import Session
from ka_explore.panels.status import Message
from ka_explore.panels.widget import Panel, source
from ka_explore.plots.comparing import run_colour
from ka_explore.probes.agreement import agreement
from ka_explore.run.reproduce import config_at, differences, from_scratch, open_lines


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
        where = f" (its folder is in {was.moved})" if was and was.moved else ""
        gone = {"deleted": was.branch.name if was else "", "where": where}
        return {"tree": tree_of(self.session, self._agreements), "said": self.session.said | gone}

    def summary(self) -> str:
        """The branches, which plays and how far they are."""
        plays, branches = {self.session.active: " (plays)"}, self.session.branches
        return "branches: " + "; ".join(f"{name}{plays.get(name, '')}: step {b.step}" for name, b in branches.items())

    def _look(self, branch: Branch) -> bool:
        """Find how far a branch agrees with its teachers, if that is not known of its last snapshot."""
        steps = branch.steps_seen()
        if not steps or self._agreements.get(branch, (-1, {}))[0] == steps[-1]:
            return False
        snapshot, found = branch.snapshot(steps[-1]), dict[str, float]()
        with contextlib.suppress(KeyError, ValueError, KaError):
            values = {} if snapshot is None else agreement(snapshot).values
            found = {name: float(share) for name, share in values.items() if np.isfinite(share)}
        self._agreements[branch] = steps[-1], found
        return True

    def _look_on(self) -> None:
        """Look at one more branch, and come back for the next: what else is asked comes between."""
        if any(self._look(branch) for branch in list(self.session.branches.values())):
            self.refresh({"branches"})
            self.session.soon(self._look_on)


def answer_branches(session: Session) -> None:
    """Let a session answer what its trees ask; what goes wrong is said in the trees."""
    verbs: dict[str, Callable[[Message], Future[Any] | None]] = {
        "activate": lambda m: session.activate(str(m["name"])),
        "show": lambda m: show_or_hide(session, str(m["name"]), bool(m["shown"])),
        "rename": lambda m: rename(session, str(m["name"]), str(m["new"])),
        "keep": lambda m: keep_named(session, str(m["name"])),
        "delete": lambda m: delete(session, str(m["name"])),
        "undelete": lambda _: undo(session),
        "open": lambda m: open_more(session, str(m["folder"])),
    }

    def failed(error: BaseException | None) -> None:
        """Say it in the trees; what is not ours in the player as well, with its trace."""
        if error is not None:
            session.say(error=str(error))
            if not isinstance(error, KaError):
                session.fail(error)

    def answered(message: Message) -> None:
        session.say()
        try:
            future = verbs[message["do"]](message)
        except KaError as error:
            failed(error)
            return
        if future is not None:
            future.add_done_callback(lambda done: None if done.cancelled() else failed(done.exception()))

    session.verbs |= dict.fromkeys(verbs, answered)


def tree_of(session: Session, agreements: Mapping[Branch, tuple[int, dict[str, float]]]) -> list[dict[str, Any]]:
    """A line a branch: forks below what they were forked from, in the order of the session."""
    branches = list(session.branches.values())
    parents = {branch: parent_of(branch, branches) for branch in branches}
    for branch in branches:  # names that were used twice must not make a circle
        above, seen = parents[branch], {branch}
        while above is not None and above not in seen:
            seen.add(above)
            above = parents[above]
        if above is not None:
            parents[branch] = None
    below: dict[Branch | None, list[Branch]] = {}
    for branch in branches:
        below.setdefault(parents[branch], []).append(branch)

    def lines(above: Branch | None, level: int) -> Iterator[dict[str, Any]]:
        for branch in below.get(above, ()):
            line = line_of(session, branch, above, branches.index(branch), agreements.get(branch))
            yield line | {"level": level, "forks": len(below.get(branch, ()))}
            yield from lines(branch, level + 1)

    return list(lines(None, 1))


def line_of(
    session: Session, branch: Branch, parent: Branch | None, index: int, agreed: tuple[int, dict[str, float]] | None
) -> dict[str, Any]:
    """What the tree says of a branch."""
    about, rows, run = branch.about, branch.rows, branch.run
    agreed_at, shares = agreed or (None, {})
    above, at = branch.parent or ("", None)
    # Of one that stays how it is opened; one that goes with the kernel is made anew.
    code = open_lines(branch.folder) if branch.kept else from_scratch(about, names=differing_names(session, branch))
    return {
        "name": branch.name, "method": about["method"], "seed": about["seed"], "from": above, "at": at,
        "index": index, "colour": run_colour(index),
        "changes": [f"{name} {said(old)} → {said(new)}" for name, (old, new) in changes_of(branch, parent).items()],
        "step": branch.step, "recorded": len(rows),
        "steps": run.steps if run is not None else max(int(about["configs"][-1][1].get("steps", 0)), len(rows)),
        "loss": float(rows[-1]["loss"]) if rows and np.isfinite(rows[-1]["loss"]) else None,
        "agreement": float(np.mean(list(shares.values()))) if shares else None,
        "agreements": [f"{teacher} {100 * share:.0f} %" for teacher, share in shares.items()],
        "agreed_at": agreed_at, "active": branch.name == session.active, "shown": branch.name in session.shown,
        "kept": branch.kept, "folder": str(branch.folder) if branch.kept else "", "code": code,
    }  # fmt: skip


def changes_of(branch: Branch, parent: Branch | None) -> dict[str, tuple[Any, Any]]:
    """The options in which a fork differs from its parent where it was forked: before, and after."""
    configs = branch.about["configs"]
    above = parent.about["configs"] if parent is not None else configs[:-1]
    if branch.parent is None or not above:
        return {}
    before = config_at(above, branch.parent[1])
    return {name: (before.get(name), value) for name, value in differences(before, configs[-1][1]).items()}


def said(value: Any) -> str:
    """An option's value in few letters."""
    return "none" if value in (None, (), []) else in_letters(value)
