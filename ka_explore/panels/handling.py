"""What can be done with branches: rename, keep, delete and undo, open more, compare.

From any thread; whatever touches a run or its files is done by the driver, between two steps.
"""

import os
import shutil
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ka_explore.errors import InputError, KaError
from ka_explore.panels.branch import Branch, numbered, parent_of, plain_name
from ka_explore.panels.session import MOST, Session
from ka_explore.run.store import writing

KEPT = Path("runs")  # where branches are kept, in the working directory
DELETED = ".deleted"  # beside a run's folder, where it lies after it was deleted
UNDO = 60.0  # seconds for which a branch that was deleted can be had back


@dataclass
class Deleted:
    """A branch that was deleted, where its folder is, how the session was before, and what it showed after."""

    branch: Branch
    moved: Path | None
    order: list[str]
    shown: tuple[str, ...]
    active: str
    viewed_step: float
    then: tuple[tuple[str, ...], str]


def rename(session: Session, name: str, new: str) -> "Future[Any]":
    """Give a branch another name, in its ``run.json`` and in those of its forks.

    Raises InputError for an unknown branch, and for a name that is taken or no plain one.
    """
    branch = session.known(name)
    wanted = plain_name(new)

    def check() -> None:
        if wanted in session.branches:
            raise InputError(f"there is a branch {wanted!r}: choose another name.")

    if not wanted or wanted != new.strip():
        raise InputError(f"{new!r} is no plain name: expected letters that a folder's name may have, not /\\:*?\"<>|.")
    if wanted == name:
        return session.driver.do()
    check()

    def job() -> None:
        check()
        everybody = list(session.branches.values())
        forks = [(each, each.parent[1]) for each in everybody if each.parent and parent_of(each, everybody) is branch]
        branch.amend(name=wanted)
        for fork, at in forks:
            fork.amend(parent=(wanted, at))
        branch.name = wanted
        called = {old: wanted if old == name else old for old in session.branches}
        branches = {called[old]: other for old, other in session.branches.items()}
        session.arrange(branches, active=called[session.active], shown=[called[old] for old in session.shown])

    return session.driver.do(job)


def keep(branch: Branch, target: Path) -> Path:
    """Copy a branch's folder to where it stays; from then on the branch is the copy, and goes on in it.

    The copy appears whole or not at all. Call it between two steps. Raises InputError where something is there already,
    and StoreError where it cannot be written; the branch is then as it was.
    """
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
            with suppress(OSError):
                target.rmdir()
            raise
    branch.move_to(target)
    return target


def keep_named(session: Session, name: str) -> "Future[Path]":
    """Keep a branch in ``runs/`` of the working directory, under its name or that with a number.

    Raises InputError for an unknown branch, or one that stays already.
    """
    branch = session.known(name)
    if branch.kept:
        raise InputError(f"{name!r} is kept already, in {branch.folder}.")

    def job() -> Path:
        target = keep(branch, free_folder(KEPT, name))
        session.say(f"⚑ kept {name!r} in {target}")
        return target

    return session.driver.do(job)


def free_folder(around: Path, name: str) -> Path:
    """A folder that is not there yet: of this name, or that with a number."""
    return next(folder for called in numbered(name) if not (folder := around / called).exists())


def delete(session: Session, name: str) -> "Future[None]":
    """Take a branch away; `undo` brings it back, within a minute and until the next one is deleted.

    A folder that stays is moved to ``.deleted`` beside it, a temporary one goes when the minute is over. Forks of the
    branch stay as they are.

    Raises InputError for an unknown branch, and for the last one.
    """
    branch = session.known(name)
    if len(session.branches) == 1:
        raise InputError(f"{name!r} is the last branch: a workbench needs one.")
    if name == session.active:
        session.pause()

    def job() -> None:
        if len(session.branches) == 1 or session.branches.get(name) is not branch:
            raise InputError(f"{name!r} cannot be deleted: it is the last branch, or gone.")
        order, before = list(session.branches), (session.shown, session.active)
        branch.follow()  # from here on nobody needs its history
        moved = None
        if branch.kept:
            into = branch.folder.parent / DELETED
            with writing(branch.folder.parent):
                into.mkdir(exist_ok=True)
                moved = free_folder(into, branch.folder.name)
                os.rename(branch.folder, moved)
        left = {other: session.branches[other] for other in order if other != name}
        shown = tuple(other for other in session.shown if other != name)
        active, viewed_step = session.active, session.viewed_step
        if active == name:
            parent = parent_of(branch, session.branches.values())
            near = shown[0] if shown else list(left)[max(order.index(name) - 1, 0)]
            active = near if parent is None else parent.name
        session.arrange(left, active=active, shown=shown if active in shown else (active, *shown)[:MOST])
        was = Deleted(branch, moved, order, *before, viewed_step, (session.shown, session.active))
        hold(session, was)
        here, there = weakref.ref(session), weakref.ref(was)

        def forget() -> None:
            """It cannot be had back any more."""
            at, gone = here(), there()
            if at is not None and gone is not None and at.deleted is gone:
                hold(at, None)

        session.soon(forget, after=UNDO)

    return session.driver.do(job)


def hold(session: Session, was: Deleted | None) -> None:
    """This can be had back, in place of what was before."""
    session.deleted = was
    session.say()


def undo(session: Session) -> "Future[None]":
    """Bring back the branch that was deleted last, where it stood. InputError for none, or where its name is taken."""

    def deleted() -> Deleted:
        was: Deleted | None = session.deleted
        if was is None:
            raise InputError("there is nothing to bring back: a branch can be had back for a minute.")
        return was

    def job() -> None:
        was = deleted()
        branch = was.branch
        if branch.name in session.branches:
            raise InputError(f"there is another branch {branch.name!r} now: rename it first.")
        if was.moved is not None:
            if branch.folder.exists():
                raise InputError(f"there is something else in {branch.folder} now: move it first.")
            with writing(branch.folder.parent):
                os.rename(was.moved, branch.folder)
                with suppress(OSError):
                    was.moved.parent.rmdir()  # if nothing else was deleted
        there = {**session.branches, branch.name: branch}  # those that came since stand at the end
        branches = {name: there[name] for name in dict.fromkeys([*was.order, *there]) if name in there}
        active = shown = None
        if (session.shown, session.active) == was.then and all(name in branches for name in was.shown):
            if session.active != was.active:
                session.pause()
            active, shown = was.active, was.shown
        session.arrange(branches, active=active, shown=shown, viewed_step=was.viewed_step)
        hold(session, None)

    deleted()
    return session.driver.do(job)


def open_more(session: Session, folder: str | Path) -> "Future[None]":
    """Add the run of a folder, or all runs of the folders in it, where they are of the same teachers and images.

    Raises InputError where there is no run, or none that fits, with the reason.
    """
    if not str(folder).strip():
        raise InputError("expected a folder with a run, or with folders of runs, got nothing.")
    found = folders_in(around := Path(folder).expanduser())

    def job() -> None:
        known_folders = {branch.folder.resolve() for branch in session.branches.values()}
        like = session.branch.about["fingerprints"]
        added: dict[str, Branch] = {}
        refused: list[str] = []
        for path in found:
            try:
                branch = Branch(folder=path)
                if reason := "it is open already" if path.resolve() in known_folders else unlike(like, branch):
                    raise InputError(reason)
            except KaError as error:
                refused.append(f"{path.name}: {error}")
            else:
                names = numbered(plain_name(branch.name) or path.name)
                branch.name = next(name for name in names if name not in {**session.branches, **added})
                added[branch.name] = branch
        if not added:
            raise InputError(f"no run was added from {around}. {' '.join(f'{each}.' for each in refused)}")
        session.arrange({**session.branches, **added})
        session.say(f"added {', '.join(added)}." + (f" Left out: {'; '.join(refused)}." if refused else ""))
        session.changed("rows", "snapshots")

    return session.driver.do(job)


def folders_in(folder: Path) -> list[Path]:
    """A run's folder, or all runs' folders in a folder, in order of their names; InputError where there is none."""
    if (folder / "run.json").exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/run.json") if not path.parent.name.startswith("."))
    if not found:
        raise InputError(f"there is no run in {folder}: expected a folder with run.json, or one of such folders.")
    return found


def unlike(fingerprints: Mapping[str, Any], branch: Branch) -> str:
    """Why a run cannot stand beside others: what of it is not theirs. Empty where it can."""
    theirs = branch.about["fingerprints"]
    teachers = sorted(key.partition("/")[2] for key in theirs if key.startswith("teacher/"))
    if {key for key in fingerprints if key != "pool"} != {key for key in theirs if key != "pool"}:
        return f"it has other teachers ({', '.join(teachers)})"
    different = sorted(key for key in fingerprints if fingerprints[key] != theirs.get(key))
    return f"it has another {different[0].replace('/', ' ')}" if different else ""


def show_or_hide(session: Session, name: str, shown: bool) -> None:
    """Compare a branch in every view, or do not; of more than three the one shown longest gives way.

    Raises InputError for an unknown branch, and for hiding the one that plays.
    """
    session.known(name)
    if not shown and name == session.active:
        raise InputError(f"{name!r} is the branch that plays, which is always shown: let another play first.")
    if shown == (name in session.shown):
        return
    others = [other for other in session.shown if other != name]
    if len(others) >= MOST:
        others.remove(gone := next(other for other in others if other != session.active))
        session.say(f"at most {MOST} are compared: {gone!r} is not shown any more")
    session.show(*others, *([name] if shown else []))
