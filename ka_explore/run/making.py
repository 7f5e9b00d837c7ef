"""A run's folder while the run is made: it is whole at the end, or nothing; what a dead maker left makes room.

Whoever makes a run holds the folder's lock and writes ``run.json`` last; a mark stands in the folder meanwhile. So a
mark in a folder whose lock is free is a dead maker's, and all that is of a run there may go.
"""

import os
from contextlib import suppress
from pathlib import Path

from ka_explore.errors import InputError
from ka_explore.run.files import sweep

MARK = ".making"
FOLDERS = ("checkpoints", "snapshots", "views")
OF_A_RUN = ("history.jsonl", "examination.json", *(f"{name}/*" for name in FOLDERS))


def refuse_a_run(folder: Path) -> None:
    """Raises InputError where a folder has a run."""
    if os.path.lexists(folder / "run.json"):
        raise InputError(f"there is a run in {folder}: open it with Run.open, or choose another folder.")


def claim(folder: Path) -> None:
    """Begin a run in a folder that is locked. Raises InputError where parts of a run are that no dead maker left."""
    refuse_a_run(folder)
    if (folder / MARK).exists():
        clear(folder)
    elif left := [path.name for pattern in OF_A_RUN for path in folder.glob(pattern)]:
        raise InputError(
            f"there are parts of a run in {folder}, but no run.json: {', '.join(left[:5])}. Nothing is overwritten: "
            "move them away, or choose another folder."
        )
    (folder / MARK).touch()
    for name in FOLDERS[:2]:
        (folder / name).mkdir(exist_ok=True)
    (folder / "history.jsonl").touch()


def done(folder: Path) -> None:
    """Take the mark away: the run is there."""
    with suppress(OSError):  # beside a run.json it says nothing
        (folder / MARK).unlink()


def tidy(folder: Path) -> None:
    """Remove what dead writers left in a folder that is locked: parts of files, the mark beside a run."""
    sweep(folder, *(folder / name for name in FOLDERS))
    if os.path.lexists(folder / "run.json"):
        done(folder)


def give_up(folder: Path) -> None:
    """Remove what was made of a run that is not to be, and the folder if nothing else is in it."""
    if not os.path.lexists(folder / "run.json"):
        with suppress(OSError):
            clear(folder)
            (folder / ".lock").unlink()
            folder.rmdir()


def clear(folder: Path) -> None:
    """Remove all of a run that is not whole, and last the mark."""
    for pattern in (*OF_A_RUN, "*.part"):
        for path in folder.glob(pattern):
            path.unlink()
    for name in FOLDERS:
        with suppress(OSError):  # not there, or not empty
            (folder / name).rmdir()
    (folder / MARK).unlink(missing_ok=True)


def left_by_a_maker(folder: Path) -> str:
    """A sentence more for a folder without a run, where one was being made."""
    return " One is being made, or its maker was ended: then make it again." if (folder / MARK).exists() else ""
