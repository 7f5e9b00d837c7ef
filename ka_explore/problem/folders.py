"""Where the package keeps what can be made again, and how a file gets there whole or not at all.

A file is written beside its place as a part, locked by its writer, and gets its name at the end. A part that nobody has
locked is what a killed process left; `sweep` removes it.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

if sys.platform != "win32":  # there a file that is open cannot be removed
    import fcntl


def cache_root() -> Path:
    """Where caches live: the environment variable KA_EXPLORE_CACHE, or the user's cache folder."""
    from platformdirs import user_cache_path

    set_by_user = os.environ.get("KA_EXPLORE_CACHE")
    return Path(set_by_user) if set_by_user else user_cache_path("ka-explore", appauthor=False)


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file whole or not at all, and sweep its folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    file = new_part(path.parent)
    try:
        write(file)
        file.flush()
        os.fsync(file.fileno())
        publish(file, path)
    finally:
        discard(file)


def new_part(folder: Path) -> BinaryIO:
    """A new file in a folder for what is being written; it is locked as long as it is open."""
    while True:
        file = (folder / f"{uuid4().hex}.part").open("xb")
        if sys.platform != "win32":
            with suppress(OSError):  # a disk that knows no locks; nobody can sweep there either
                fcntl.flock(file, fcntl.LOCK_EX)
        if Path(file.name).exists():
            return file
        file.close()  # swept between its making and its lock


def publish(file: BinaryIO, path: Path) -> None:
    """Give a part its name, in place of what has it so far."""
    file.flush()
    if sys.platform == "win32":
        file.close()
    os.replace(file.name, path)  # while it is still locked: once it is not, it may be swept


def discard(file: BinaryIO) -> None:
    """Close a part and remove it, unless it has its name by now."""
    with suppress(OSError):  # what is still to be written does not fit on a full disk either
        file.close()
    Path(file.name).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove, in a folder and below, the parts whose writer is gone."""
    for path in folder.rglob("*.part"):
        with suppress(OSError), path.open("rb+") as file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while its writer lives
            path.unlink()
