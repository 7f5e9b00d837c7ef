"""Files that appear whole or not at all, and reading that neither waits for anything nor takes more than it may.

A file is written beside its place, under a name that says which process writes it, and then given its own name. What a
process left that died meanwhile is swept up when the place is used next.
"""

import hashlib
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from filelock import Timeout

from ka_explore.errors import InputError, StoreError, brief

MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
PART = re.compile(r"(?:([0-9a-f]{8})-([0-9]{1,10})-)?[0-9a-f]{32}\.part")
DAY = 86_400.0  # seconds: what another machine writes is not given up before
LONGEST_NAME = 255  # bytes, of a file or folder, on all usual disks


def path_of(given: object) -> Path:
    """A path that a file or folder can have. Raises InputError for anything else."""
    try:
        path = Path(given)  # type: ignore[arg-type]
        parts = [os.fsencode(part) for part in path.parts]
        fits = all(b"\0" not in part and len(part) <= LONGEST_NAME for part in parts) and str(given) != ""
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(
            f"expected the path of a folder (names of at most {LONGEST_NAME} bytes, without NUL), got {brief(given)}."
        )
    return path


# Reading.


def open_regular(path: Path, most: int) -> BinaryIO:
    """A plain file for reading. Raises OSError for more bytes than that, and at once for a pipe, device or folder."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    try:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no plain file")
        if found.st_size > most:
            raise OSError(f"{path} has {found.st_size:,} bytes, more than {most:,}")
    except OSError:
        file.close()
        raise
    return file


# Writing.


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Within the ``with``: an OSError becomes a StoreError that names the folder and says what to do."""
    try:
        yield
    except (StoreError, Timeout):
        raise
    except (OSError, RuntimeError) as error:
        raise StoreError(
            f"cannot write in {folder}: {error}. What was written before is kept; make room or choose another folder, "
            "and go on."
        ) from error


def replace_file(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place and then give it its name; who may read it is as for any new file."""
    part = path.parent / f"{MACHINE}-{os.getpid()}-{uuid4().hex}.part"
    try:
        with part.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def refuse_a_link(path: Path) -> None:
    """Raises StoreError for a link: what is changed in place would be changed elsewhere."""
    if path.is_symlink():
        raise StoreError(f"{path} is a link, which is not written through: put a copy in its place.")


def copy_file(source: Path, folder: Path) -> None:
    """A hard link to a plain file where the disk can (none is ever changed in place), a copy elsewhere."""
    if not source.is_file():
        return
    folder.mkdir(exist_ok=True)
    try:
        os.link(source, folder / source.name)
    except OSError:
        shutil.copy2(source, folder / source.name)


def sweep(*folders: Path) -> None:
    """Remove the parts of files that dead writers left in these folders; whoever lives keeps theirs."""
    for folder in folders:
        with suppress(OSError):
            for path in folder.glob("*.part"):
                if (named := PART.fullmatch(path.name)) and is_dead(path, *named.groups()):
                    path.unlink()


def is_dead(part: Path, machine: str | None, process: str | None) -> bool:
    """Whether the writer of a part has ended; one of another machine has after a day."""
    if machine != MACHINE or process is None or os.name == "nt":  # there, asking would end it
        return time.time() - part.stat().st_mtime > DAY
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's, or no number of a process
        return False
    return False
