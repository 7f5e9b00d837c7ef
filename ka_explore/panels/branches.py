"""The branches of a desk as a tree: which plays, which are compared; rename, keep, delete and undo, open more."""

import contextlib
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import traitlets

from ka_explore.errors import InputError, KaError, unknown
from ka_explore.panels.as_python import config_at, differences, from_scratch, open_call
from ka_explore.panels.branch import Branch
from ka_explore.panels.desk import plain_name
from ka_explore.panels.forking import differing_names
from ka_explore.panels.widget import Panel, source
from ka_explore.plots.comparing import run_colour
from ka_explore.probes.agreement import agreement
from ka_explore.store import Store, writing

if TYPE_CHECKING:
    from ka_explore.panels.desk import Desk

UNDO = 60.0  # seconds for which a branch that was deleted can be had back
KEPT = Path("runs")  # where branches are kept, in the working directory
DELETED = ".deleted"  # beside a run's folder, where it lies after it was deleted
MOST = 3  # branches that are compared


class Branches(Panel):
    """The runs of a desk as a tree of forks, and what can be done with them."""

    _esm = source("shared.js", "copying.js", "branches.js")
    _css = source("shared.css", "branches.css")
    topics = frozenset({"branches", "rows", "snapshots"})

    tree: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    said = traitlets.Dict().tag(sync=True)

    def __init__(self, desk: "Desk"):
        self._agreements: weakref.WeakKeyDictionary[Branch, tuple[int, dict[str, float]]] = weakref.WeakKeyDictionary()
        self._verb = f"agreements {uuid4().hex}"
        super().__init__(desk)
        mine = weakref.WeakMethod(self._look_on)
        desk.answer(self._verb, lambda _: (look := mine()) and look())
        answer_branches(desk)
        desk.receive({"do": self._verb})

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """A line a branch, parents before their forks, and what is to be said."""
        if "snapshots" in changed:
            for branch in self.desk.compared:
                self._look(branch)
        return {"tree": tree_of(self.desk, self._agreements), "said": bin_of(self.desk).said()}

    def summary(self) -> str:
        """The branches, which plays and how far they are."""
        desk = self.desk
        parts = [
            f"{name}{' (plays)' if name == desk.active else ''}: step {branch.step}"
            for name, branch in desk.branches.items()
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
        if any(self._look(branch) for branch in list(self.desk.branches.values())):
            self.refresh({"branches"})
            if not self.desk.closed:
                self.desk.receive({"do": self._verb})


# The tree


def tree_of(desk: "Desk", agreements: Mapping[Branch, tuple[int, dict[str, float]]]) -> list[dict[str, Any]]:
    """A line a branch: forks below what they were forked from, in the order of the desk."""
    branches = list(desk.branches.values())
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
    lines: list[dict[str, Any]] = []

    def add(branch: Branch, level: int) -> None:
        line = line_of(desk, branch, parents[branch], branches.index(branch), agreements.get(branch))
        lines.append(line | {"level": level, "forks": len(below.get(branch, ()))})
        for fork in below.get(branch, ()):
            add(fork, level + 1)

    for root in below.get(None, ()):
        add(root, 1)
    return lines


def line_of(
    desk: "Desk", branch: Branch, parent: Branch | None, place: int, agreed: tuple[int, dict[str, float]] | None
) -> dict[str, Any]:
    """What the tree says of a branch."""
    about, rows, run = branch.about, branch.rows, branch.run
    total = run.steps if run is not None else max(int(about["configs"][-1][1].get("steps", 0)), len(rows))
    shares = agreed[1] if agreed else {}
    return {
        "name": branch.name,
        "method": about["method"],
        "seed": about["seed"],
        "colour": run_colour(place),
        "place": place,
        "from": "" if branch.parent is None else branch.parent[0],
        "at": None if branch.parent is None else branch.parent[1],
        "changes": [
            f"{name} {said(before)} → {said(after)}" for name, (before, after) in changes_of(branch, parent).items()
        ],
        "step": branch.step,
        "recorded": len(rows),
        "steps": total,
        "loss": float(rows[-1]["loss"]) if rows and np.isfinite(rows[-1]["loss"]) else None,
        "agreement": float(np.mean(list(shares.values()))) if shares else None,
        "agreements": [f"{teacher} {100 * share:.0f} %" for teacher, share in shares.items()],
        "agreed_at": agreed[0] if agreed else None,
        "active": branch.name == desk.active,
        "shown": branch.name in desk.shown,
        "kept": branch.kept,
        "folder": str(branch.folder) if branch.kept else "",
        "code": code_of(desk, branch),
    }


def parent_of(branch: Branch, branches: Iterable[Branch]) -> Branch | None:
    """The branch that one was forked from, where it is among these."""
    if branch.parent is None:
        return None
    name, at = branch.parent
    mine = branch.about
    before = [[start, config] for start, config in mine["configs"] if start < at]

    def fits(other: Branch) -> tuple[bool, bool, bool]:
        theirs = [[start, config] for start, config in other.about["configs"] if start < at]
        beside = other.folder.parent == branch.folder.parent
        return other.about["seed"] == mine["seed"] and theirs == before, beside, other.name == name

    found = [
        other
        for other in branches
        if other is not branch
        and other.about["name"] == name
        and other.about["method"] == mine["method"]
        and other.about["fingerprints"] == mine["fingerprints"]
    ]
    return max(found, key=fits, default=None)


def changes_of(branch: Branch, parent: Branch | None) -> dict[str, tuple[Any, Any]]:
    """The options in which a fork differs from its parent where it was forked: before, and after."""
    if branch.parent is None:
        return {}
    at, configs = branch.parent[1], branch.about["configs"]
    if parent is not None:
        before = config_at(parent.about["configs"], at)
    elif len(configs) > 1:
        before = config_at(configs[:-1], at)
    else:
        return {}
    after = differences(before, configs[-1][1])
    return {name: (before.get(name), value) for name, value in after.items()}


def said(value: Any) -> str:
    """An option's value in few letters."""
    if isinstance(value, (tuple, list)):
        return ", ".join(map(said, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def code_of(desk: "Desk", branch: Branch) -> str:
    """The Python that opens a branch that stays, or makes one that goes with the kernel anew."""
    if branch.kept:
        return open_call(branch.folder)
    return from_scratch(branch.about, names=differing_names(desk, branch))


# What can be done, from any thread. Whatever touches a run or its files is done by the worker, between two steps.


def rename(desk: "Desk", name: str, new: str) -> "Future[None]":
    """Give a branch another name, in its ``run.json`` and in those of its forks.

    Raises InputError for an unknown branch, and for a name that is taken or no plain one.
    """
    branch = known(desk, name)
    wanted = plain_name(new)
    if not wanted or wanted != new.strip():
        raise InputError(f"{new!r} is no plain name: expected letters that a folder's name may have, not /\\:*?\"<>|.")
    if wanted == name:
        return finished()
    if wanted in desk.branches:
        raise InputError(f"there is a branch {wanted!r}: choose another name.")

    def job() -> None:
        if wanted in desk.branches:
            raise InputError(f"there is a branch {wanted!r}: choose another name.")
        everybody = list(desk.branches.values())
        forks = [other for other in everybody if parent_of(other, everybody) is branch]
        amend(branch, name=wanted)
        for fork in forks:
            assert fork.parent is not None
            amend(fork, parent=(wanted, fork.parent[1]))
        branch.name = wanted
        both: dict[str, Branch] = {}
        for old, other in desk.branches.items():
            both |= {old: other, wanted: other} if old == name else {old: other}
        desk.branches = both  # readers on other threads find either name while it changes
        desk.active = wanted if desk.active == name else desk.active
        desk.shown = tuple(wanted if each == name else each for each in desk.shown)
        desk.branches = {key: value for key, value in both.items() if key != name}
        desk.changed("branches")

    return desk.worker.do(job)


def amend(branch: Branch, *, name: str | None = None, parent: tuple[str, int] | None = None) -> None:
    """Write a branch's new name or parent, and let all who read its folder know."""
    branch.store.amend(name=name, parent=parent)
    if branch.run is not None and branch.run.store is not branch.store:
        branch.run.store.about = branch.store.about


def keep(branch: Branch, target: str | Path) -> Path:
    """Copy a branch's folder to where it stays; from then on the branch is the copy, and goes on in it.

    The copy appears whole or not at all. Call it between two steps.

    Raises:
        InputError: something is there already.
        StoreError: it cannot be written; the branch is as it was.
    """
    target = Path(target)
    part = target.parent / f".{uuid4().hex}.part"
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.mkdir()  # claims the name: nobody else can make it now
        except FileExistsError:
            raise InputError(f"there is something in {target}: it is never overwritten, choose another name.") from None
        try:
            shutil.copytree(branch.folder, part, ignore=shutil.ignore_patterns(".lock", "*.part"))
            if os.name == "nt":
                target.rmdir()  # a folder cannot take the place of an empty one there
            os.rename(part, target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            with contextlib.suppress(OSError):
                target.rmdir()
            raise
    branch.follow()
    with branch._lock:
        branch.folder = target
        branch._store = Store(target)
        if branch.run is not None:
            branch.run.store = Store(target)
    return target


def keep_named(desk: "Desk", name: str, folder: str | Path | None = None) -> "Future[Path]":
    """Keep a branch in ``runs/`` of the working directory, under its name or that with a number, or in a folder.

    Raises InputError for an unknown branch, or one that stays already.
    """
    branch = known(desk, name)
    if branch.kept:
        raise InputError(f"{name!r} is kept already, in {branch.folder}.")

    def job() -> Path:
        if folder is not None:
            target = keep(branch, folder)
        else:
            places = (KEPT / (name if i == 1 else f"{name} {i}") for i in range(1, 10_000))
            target = keep(branch, next(place for place in places if not place.exists()))
        bin_of(desk).say(f"⚑ kept {name!r} in {target}")
        desk.changed("branches")
        return target

    return desk.worker.do(job)


def delete(desk: "Desk", name: str) -> "Future[None]":
    """Take a branch away; `undo` brings it back, within a minute and until the next one is deleted.

    A folder that stays is moved to ``.deleted`` beside it, a temporary one goes when the minute is over. Forks of the
    branch stay as they are.

    Raises InputError for an unknown branch, and for the last one.
    """
    branch = known(desk, name)
    if len(desk.branches) == 1:
        raise InputError(f"{name!r} is the last branch: a workbench needs one.")
    if name == desk.active:
        desk.pause()

    def job() -> None:
        if len(desk.branches) == 1 or desk.branches.get(name) is not branch:
            raise InputError(f"{name!r} cannot be deleted: it is the last branch, or gone.")
        was = Deleted(branch, list(desk.branches), desk.shown, desk.active, branch.folder, desk.place)
        branch.follow()  # from here on nobody needs its history
        if branch.kept:
            was.moved = move_away(branch.folder)
        others = [other for other in desk.branches if other != name]
        if desk.active == name:
            parent = parent_of(branch, list(desk.branches.values()))
            place = list(desk.branches).index(name)
            shown = [other for other in desk.shown if other != name]
            near = parent.name if parent is not None else shown[0] if shown else others[max(place - 1, 0)]
            desk.active = near
            desk.place = float(desk.branches[near].step)
        left = tuple(other for other in desk.shown if other != name)
        desk.shown = left if desk.active in left else (desk.active, *left)[:MOST]
        desk.branches = {key: value for key, value in desk.branches.items() if key != name}
        was.then = desk.shown, desk.active
        bin_of(desk).put(desk, was)
        desk.changed("branches", "place")

    return desk.worker.do(job)


def move_away(folder: Path) -> Path:
    """Move a folder into ``.deleted`` beside it. Raises StoreError."""
    into = folder.parent / DELETED
    with writing(folder.parent):
        into.mkdir(exist_ok=True)
        places = (into / (folder.name if i == 1 else f"{folder.name} {i}") for i in range(1, 10_000))
        target = next(place for place in places if not place.exists())
        os.rename(folder, target)
    return target


def undo(desk: "Desk") -> "Future[str]":
    """Bring back the branch that was deleted last, where it stood; its name comes back.

    Raises InputError where there is none, or its place is taken.
    """
    bin = bin_of(desk)
    if bin.deleted is None:
        raise InputError("there is nothing to bring back: a branch can be had back for a minute.")

    def job() -> str:
        was = bin.deleted
        if was is None:
            raise InputError("there is nothing to bring back: a branch can be had back for a minute.")
        branch = was.branch
        if branch.name in desk.branches:
            raise InputError(f"there is another branch {branch.name!r} now: rename it first.")
        if was.moved is not None:
            if was.folder.exists():
                raise InputError(f"there is something else in {was.folder} now: move it first.")
            with writing(was.folder.parent):
                os.rename(was.moved, was.folder)
                with contextlib.suppress(OSError):
                    was.moved.parent.rmdir()  # if nothing else was deleted
        desk.branches = in_order(was.order, desk.branches | {branch.name: branch})
        if (desk.shown, desk.active) == was.then and all(name in desk.branches for name in was.shown):
            if desk.active != was.active:
                desk.worker.stop()
                desk.active, desk.place = was.active, was.place
            desk.shown = was.shown
        bin.take()
        desk.changed("branches", "place")
        return branch.name

    return desk.worker.do(job)


def in_order(order: list[str], branches: Mapping[str, Branch]) -> dict[str, Branch]:
    """Branches as they stood; those that came since at the end."""
    names = [name for name in order if name in branches]
    return {name: branches[name] for name in [*names, *(name for name in branches if name not in names)]}


def open_more(desk: "Desk", folder: str | Path) -> "Future[list[str]]":
    """Add the run of a folder, or all runs of the folders in it, where they are of the same teachers and images.

    Raises InputError where there is no run, or none that fits, with the reason.
    """
    place = Path(folder).expanduser()
    if not str(folder).strip():
        raise InputError("expected a folder with a run, or with folders of runs, got nothing.")
    here = [place] if (place / "run.json").exists() else []
    found = here or sorted(path.parent for path in place.glob("*/run.json") if not path.parent.name.startswith("."))
    if not found:
        raise InputError(f"there is no run in {place}: expected a folder with run.json, or one of such folders.")

    def job() -> list[str]:
        known_folders = {branch.folder.resolve() for branch in desk.branches.values()}
        like = desk.branch.about["fingerprints"]
        added: list[str] = []
        refused: list[str] = []
        for path in found:
            try:
                branch = Branch(folder=path)
                reason = "it is open already" if path.resolve() in known_folders else unlike(like, branch)
            except KaError as error:
                refused.append(f"{path.name}: {error}")
                continue
            if reason:
                refused.append(f"{path.name}: {reason}")
                continue
            branch.name = desk.free_name(plain_name(branch.name) or path.name)
            desk.branches = desk.branches | {branch.name: branch}
            added.append(branch.name)
        if not added:
            raise InputError(f"no run was added from {place}. {' '.join(f'{each}.' for each in refused)}")
        left_out = f" Left out: {'; '.join(refused)}." if refused else ""
        bin_of(desk).say(f"added {', '.join(added)}.{left_out}")
        desk.changed("branches", "rows", "snapshots")
        return added

    return desk.worker.do(job)


def unlike(fingerprints: Mapping[str, Any], branch: Branch) -> str:
    """Why a run cannot stand beside others: what of it is not theirs. Empty where it can."""
    theirs = branch.about["fingerprints"]
    teachers = sorted(key.partition("/")[2] for key in theirs if key.startswith("teacher/"))
    if {key for key in fingerprints if key != "pool"} != {key for key in theirs if key != "pool"}:
        return f"it has other teachers ({', '.join(teachers)})"
    different = sorted(key for key in fingerprints if fingerprints[key] != theirs.get(key))
    return f"it has another {different[0].replace('/', ' ')}" if different else ""


def show_or_hide(desk: "Desk", name: str, shown: bool) -> None:
    """Compare a branch in every view, or do not; of more than three the one shown longest gives way.

    Raises InputError for an unknown branch, and for hiding the one that plays.
    """
    known(desk, name)
    if not shown and name == desk.active:
        raise InputError(f"{name!r} is the branch that plays, which is always shown: let another play first.")
    if shown and name not in desk.shown:
        left = list(desk.shown)
        if len(left) >= MOST:
            gone = next(other for other in left if other != desk.active)
            left.remove(gone)
            bin_of(desk).say(f"at most {MOST} are compared: {gone!r} is not shown any more")
        desk.show(*left, name)
    elif not shown and name in desk.shown:
        desk.show(*(other for other in desk.shown if other != name))


def known(desk: "Desk", name: str) -> Branch:
    """A branch by name. Raises InputError for an unknown one."""
    if name not in desk.branches:
        raise unknown("branch", name, desk.branches)
    return desk.branches[name]


def finished() -> "Future[None]":
    """What is done already."""
    future: Future[None] = Future()
    future.set_result(None)
    return future


# What was deleted, and what is to be said, a desk


@dataclass
class Deleted:
    """A branch that was deleted, how the desk was before, and what was shown and active just after."""

    branch: Branch
    order: list[str]
    shown: tuple[str, ...]
    active: str
    folder: Path
    place: float
    moved: Path | None = None
    then: tuple[tuple[str, ...], str] = ((), "")


@dataclass
class Bin:
    """What can be had back, and what all trees of a desk say.

    Attributes:
        deleted: the branch deleted last, for as long as it can be had back.
        note: what is worth knowing.
        error: what went wrong, until something else is asked.
    """

    deleted: Deleted | None = None
    note: str = ""
    error: str = ""
    number: int = 0
    timer: threading.Timer | None = field(default=None, repr=False)

    def said(self) -> dict[str, Any]:
        """For the browser."""
        gone = self.deleted
        place = "" if gone is None or gone.moved is None else f" (its folder is in {gone.moved})"
        return {
            "note": self.note,
            "error": self.error,
            "number": self.number,
            "deleted": "" if gone is None else gone.branch.name,
            "where": place,
        }

    def say(self, note: str = "", error: str = "") -> None:
        """Say this, in place of what was said before."""
        self.note, self.error, self.number = note, error, self.number + 1

    def put(self, desk: "Desk", was: Deleted) -> None:
        """A branch was deleted; the one before is gone for good."""
        self.take()
        self.deleted = was
        here = weakref.ref(desk)

        def over() -> None:
            at = here()
            if at is not None and bin_of(at).deleted is was:
                bin_of(at).take()
                at.worker.do(nothing)  # or its last job, the deletion, would hold the branch
                at.changed("branches")

        self.timer = threading.Timer(UNDO, over)
        self.timer.daemon = True
        self.timer.start()

    def take(self) -> None:
        """Nothing can be had back any more."""
        if self.timer is not None:
            self.timer.cancel()
        self.deleted, self.timer = None, None
        self.say()


def nothing() -> None:
    """A job that does nothing."""


BINS: "weakref.WeakKeyDictionary[Desk, Bin]" = weakref.WeakKeyDictionary()


def bin_of(desk: "Desk") -> Bin:
    """What was deleted from a desk and what is to be said there."""
    return BINS.setdefault(desk, Bin())


# What the browser asks


def answer_branches(desk: "Desk") -> None:
    """Let a desk answer what its trees ask; what goes wrong is said in the trees."""
    here = weakref.ref(desk)

    def answer(verb: str, act: Callable[["Desk", Mapping[str, Any]], "Future[Any] | None"]) -> None:
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

        desk.answer(verb, answered)

    answer("activate", lambda at, m: at.activate(str(m["name"])))
    answer("show", lambda at, m: show_or_hide(at, str(m["name"]), bool(m["shown"])))
    answer("rename", lambda at, m: rename(at, str(m["name"]), str(m["new"])))
    answer("keep", lambda at, m: keep_named(at, str(m["name"])))
    answer("delete", lambda at, m: delete(at, str(m["name"])))
    answer("undelete", lambda at, _: undo(at))
    answer("open", lambda at, m: open_more(at, str(m["folder"])))


def ended(desk: "Desk", future: "Future[Any]") -> None:
    """Say what went wrong, where it did."""
    with contextlib.suppress(CancelledError):
        error = future.exception()
        if error is not None:
            failed(desk, error)


def failed(desk: "Desk", error: BaseException) -> None:
    """Say it in the trees; what is not ours in the player as well, with its trace."""
    bin_of(desk).say(error=str(error))
    if not isinstance(error, KaError):
        desk.fail(error)
    desk.changed("branches")
