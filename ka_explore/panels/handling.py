"""What can be done with branches: rename, keep, delete and undo, open more, compare.

From any thread; whatever touches a run or its files is done by the worker, between two steps.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ka_explore.errors import InputError, KaError, unknown
from ka_explore.panels.bin import Deleted, bin_of
from ka_explore.panels.branch import Branch
from ka_explore.panels.session import plain_name
from ka_explore.panels.tree import parent_of
from ka_explore.run.store import Store, writing

if TYPE_CHECKING:
    from ka_explore.panels.session import Session

KEPT = Path("runs")  # where branches are kept, in the working directory
DELETED = ".deleted"  # beside a run's folder, where it lies after it was deleted
MOST = 3  # branches that are compared


def rename(session: "Session", name: str, new: str) -> "Future[None]":
    """Give a branch another name, in its ``run.json`` and in those of its forks.

    Raises InputError for an unknown branch, and for a name that is taken or no plain one.
    """
    branch = known(session, name)
    wanted = plain_name(new)
    if not wanted or wanted != new.strip():
        raise InputError(f"{new!r} is no plain name: expected letters that a folder's name may have, not /\\:*?\"<>|.")
    if wanted == name:
        return finished()
    if wanted in session.branches:
        raise InputError(f"there is a branch {wanted!r}: choose another name.")

    def job() -> None:
        if wanted in session.branches:
            raise InputError(f"there is a branch {wanted!r}: choose another name.")
        everybody = list(session.branches.values())
        forks = [other for other in everybody if parent_of(other, everybody) is branch]
        amend(branch, name=wanted)
        for fork in forks:
            assert fork.parent is not None
            amend(fork, parent=(wanted, fork.parent[1]))
        branch.name = wanted
        both: dict[str, Branch] = {}
        for old, other in session.branches.items():
            both |= {old: other, wanted: other} if old == name else {old: other}
        session.branches = both  # readers on other threads find either name while it changes
        session.active = wanted if session.active == name else session.active
        session.shown = tuple(wanted if each == name else each for each in session.shown)
        session.branches = {key: value for key, value in both.items() if key != name}
        session.changed("branches")

    return session.worker.do(job)


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


def keep_named(session: "Session", name: str, folder: str | Path | None = None) -> "Future[Path]":
    """Keep a branch in ``runs/`` of the working directory, under its name or that with a number, or in a folder.

    Raises InputError for an unknown branch, or one that stays already.
    """
    branch = known(session, name)
    if branch.kept:
        raise InputError(f"{name!r} is kept already, in {branch.folder}.")

    def job() -> Path:
        if folder is not None:
            target = keep(branch, folder)
        else:
            places = (KEPT / (name if i == 1 else f"{name} {i}") for i in range(1, 10_000))
            target = keep(branch, next(place for place in places if not place.exists()))
        bin_of(session).say(f"⚑ kept {name!r} in {target}")
        session.changed("branches")
        return target

    return session.worker.do(job)


def delete(session: "Session", name: str) -> "Future[None]":
    """Take a branch away; `undo` brings it back, within a minute and until the next one is deleted.

    A folder that stays is moved to ``.deleted`` beside it, a temporary one goes when the minute is over. Forks of the
    branch stay as they are.

    Raises InputError for an unknown branch, and for the last one.
    """
    branch = known(session, name)
    if len(session.branches) == 1:
        raise InputError(f"{name!r} is the last branch: a workbench needs one.")
    if name == session.active:
        session.pause()

    def job() -> None:
        if len(session.branches) == 1 or session.branches.get(name) is not branch:
            raise InputError(f"{name!r} cannot be deleted: it is the last branch, or gone.")
        was = Deleted(branch, list(session.branches), session.shown, session.active, branch.folder, session.place)
        branch.follow()  # from here on nobody needs its history
        if branch.kept:
            was.moved = move_away(branch.folder)
        others = [other for other in session.branches if other != name]
        if session.active == name:
            parent = parent_of(branch, list(session.branches.values()))
            place = list(session.branches).index(name)
            shown = [other for other in session.shown if other != name]
            near = parent.name if parent is not None else shown[0] if shown else others[max(place - 1, 0)]
            session.active = near
            session.place = float(session.branches[near].step)
        left = tuple(other for other in session.shown if other != name)
        session.shown = left if session.active in left else (session.active, *left)[:MOST]
        session.branches = {key: value for key, value in session.branches.items() if key != name}
        was.then = session.shown, session.active
        bin_of(session).put(session, was)
        session.changed("branches", "place")

    return session.worker.do(job)


def move_away(folder: Path) -> Path:
    """Move a folder into ``.deleted`` beside it. Raises StoreError."""
    into = folder.parent / DELETED
    with writing(folder.parent):
        into.mkdir(exist_ok=True)
        places = (into / (folder.name if i == 1 else f"{folder.name} {i}") for i in range(1, 10_000))
        target = next(place for place in places if not place.exists())
        os.rename(folder, target)
    return target


def undo(session: "Session") -> "Future[str]":
    """Bring back the branch that was deleted last, where it stood; its name comes back.

    Raises InputError where there is none, or its place is taken.
    """
    bin = bin_of(session)
    if bin.deleted is None:
        raise InputError("there is nothing to bring back: a branch can be had back for a minute.")

    def job() -> str:
        was = bin.deleted
        if was is None:
            raise InputError("there is nothing to bring back: a branch can be had back for a minute.")
        branch = was.branch
        if branch.name in session.branches:
            raise InputError(f"there is another branch {branch.name!r} now: rename it first.")
        if was.moved is not None:
            if was.folder.exists():
                raise InputError(f"there is something else in {was.folder} now: move it first.")
            with writing(was.folder.parent):
                os.rename(was.moved, was.folder)
                with contextlib.suppress(OSError):
                    was.moved.parent.rmdir()  # if nothing else was deleted
        session.branches = in_order(was.order, session.branches | {branch.name: branch})
        if (session.shown, session.active) == was.then and all(name in session.branches for name in was.shown):
            if session.active != was.active:
                session.worker.stop()
                session.active, session.place = was.active, was.place
            session.shown = was.shown
        bin.take()
        session.changed("branches", "place")
        return branch.name

    return session.worker.do(job)


def in_order(order: list[str], branches: Mapping[str, Branch]) -> dict[str, Branch]:
    """Branches as they stood; those that came since at the end."""
    names = [name for name in order if name in branches]
    return {name: branches[name] for name in [*names, *(name for name in branches if name not in names)]}


def open_more(session: "Session", folder: str | Path) -> "Future[list[str]]":
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
        known_folders = {branch.folder.resolve() for branch in session.branches.values()}
        like = session.branch.about["fingerprints"]
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
            branch.name = session.free_name(plain_name(branch.name) or path.name)
            session.branches = session.branches | {branch.name: branch}
            added.append(branch.name)
        if not added:
            raise InputError(f"no run was added from {place}. {' '.join(f'{each}.' for each in refused)}")
        left_out = f" Left out: {'; '.join(refused)}." if refused else ""
        bin_of(session).say(f"added {', '.join(added)}.{left_out}")
        session.changed("branches", "rows", "snapshots")
        return added

    return session.worker.do(job)


def unlike(fingerprints: Mapping[str, Any], branch: Branch) -> str:
    """Why a run cannot stand beside others: what of it is not theirs. Empty where it can."""
    theirs = branch.about["fingerprints"]
    teachers = sorted(key.partition("/")[2] for key in theirs if key.startswith("teacher/"))
    if {key for key in fingerprints if key != "pool"} != {key for key in theirs if key != "pool"}:
        return f"it has other teachers ({', '.join(teachers)})"
    different = sorted(key for key in fingerprints if fingerprints[key] != theirs.get(key))
    return f"it has another {different[0].replace('/', ' ')}" if different else ""


def show_or_hide(session: "Session", name: str, shown: bool) -> None:
    """Compare a branch in every view, or do not; of more than three the one shown longest gives way.

    Raises InputError for an unknown branch, and for hiding the one that plays.
    """
    known(session, name)
    if not shown and name == session.active:
        raise InputError(f"{name!r} is the branch that plays, which is always shown: let another play first.")
    if shown and name not in session.shown:
        left = list(session.shown)
        if len(left) >= MOST:
            gone = next(other for other in left if other != session.active)
            left.remove(gone)
            bin_of(session).say(f"at most {MOST} are compared: {gone!r} is not shown any more")
        session.show(*left, name)
    elif not shown and name in session.shown:
        session.show(*(other for other in session.shown if other != name))


def known(session: "Session", name: str) -> Branch:
    """A branch by name. Raises InputError for an unknown one."""
    if name not in session.branches:
        raise unknown("branch", name, session.branches)
    return session.branches[name]


def finished() -> "Future[None]":
    """What is done already."""
    future: Future[None] = Future()
    future.set_result(None)
    return future
