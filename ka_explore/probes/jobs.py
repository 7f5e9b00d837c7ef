"""t-SNE and UMAP off the main process, kept on disk.

A worker is a Python process of its own, with one thread and without torch, that is handed rows in a folder: it can
be watched and ended at any time, needs no guard in scripts, and ends with the process that began it. What it finds is
kept under the hash of all that it was made of, so a second look costs nothing.
"""

import importlib
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ka_explore.errors import InputError, KaError, StoreError, checked, unknown
from ka_explore.probes.clouds import KINDS
from ka_explore.probes.embedding import frames_of, lay_out
from ka_explore.probes.films import fingerprint, forget, kept_folder, read_film, trim, write_film
from ka_explore.probes.linear import dress
from ka_explore.probes.probe import space_was_of
from ka_explore.probes.results import Points
from ka_explore.probes.ways import NAMES, Setting, announced_seconds, checked_options
from ka_explore.problem.progress import progress_bar
from ka_explore.run.snapshot import Snapshot

__all__ = ["Embedding", "EmbeddingFailed", "Progress", "embed", "forget", "kept"]

ROOM = "Make room, or set KA_EXPLORE_CACHE to another folder."
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB", "NUMEXPR")


def __getattr__(name: str) -> Any:
    """The axes of a run, which stood here in version 0.1."""
    if name not in ("basis_of", "refreeze"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"{__name__}.{name} is ka_explore.probes.axes.basis_of since version 0.2.", FutureWarning, stacklevel=2
    )
    return importlib.import_module("ka_explore.probes.axes").basis_of


class EmbeddingFailed(KaError, RuntimeError):
    """A worker could not be started, came to no end, or was ended."""


@dataclass(frozen=True)
class Progress:
    """How far a job is, 0 to 1, and what it is doing."""

    share: float
    words: str


@space_was_of
@checked
def embed(
    snapshots: Snapshot | Sequence[Snapshot],
    how: str = "tsne",
    space: str = "common",
    *,
    start: Points | None = None,
    **options: Setting,
) -> "Embedding":
    """Begin a film in a process of its own, or find it on disk; returns at once.

    Args:
        snapshots: one, or several of one probe set: each picture then goes on from the one before.
        how: ``tsne``, ``umap`` or ``aligned_umap``.
        space: one of `ka_explore.probes.embedding.spaces`.
        start: a picture to go on from; not for ``aligned_umap``.
        options: of that way to draw: see `ka_explore.probes.embedding.OPTIONS`.

    Raises:
        InputError: for names, options or arrays that do not fit.
        EmbeddingFailed: when no process can be started.
        StoreError: when the folder of the kept pictures cannot be written.
    """
    several = [snapshots] if isinstance(snapshots, Snapshot) else list(snapshots)
    if how in KINDS:
        raise InputError(f"{NAMES[how]}: instant, needs no process: call ka_explore.probes.embedding.{how}, or film.")
    if how not in NAMES:
        raise unknown("way to draw", how, [name for name in NAMES if name not in KINDS])
    if start is not None and how == "aligned_umap":
        raise InputError("aligned UMAP draws all steps at once: it cannot go on from a picture.")
    return Embedding(several, how, space, checked_options(how, options), start)


@space_was_of
@checked
def kept(snapshots: Sequence[Snapshot], how: str, space: str = "common") -> list[Points] | None:
    """A film that `embed` made before, of the same rows with the default options; None where there is none."""
    try:
        chosen = checked_options(how, {})
    except InputError:  # without the library that draws in this way there is none of this version
        return None
    frames = frames_of(snapshots, space)
    found = read_film(kept_folder() / f"{fingerprint(frames, how, chosen, None)}.npz", frames)
    return found and dress(found, snapshots, space)


class Embedding:
    """A film that is being made, or was found on disk. Made by `embed`.

    A job that nobody holds any more is ended, as are all when Python ends.

    Attributes:
        path: where the film is kept.
        announced: roughly how many seconds it takes; 0 when it was found.
        process: the worker's process id; None when the film was found.
    """

    def __init__(
        self, snapshots: list[Snapshot], how: str, space: str, options: dict[str, float], start: Points | None
    ):
        frames = frames_of(snapshots, space)
        self._snapshots, self._frames, self._how, self._space = snapshots, frames, how, space
        self._lock = threading.RLock()
        self._error: KaError | None = None
        self._last = Progress(0.0, "starting")
        self.path = kept_folder() / f"{fingerprint(frames, how, options, start)}.npz"
        self._film, self.announced = self._opened(), 0.0
        self.process: int | None = None
        if self._film is None:
            self.announced = announced_seconds(how, max(len(rows.values) for rows in frames), len(frames))
            self._begin(options, start)

    def _begin(self, options: dict[str, float], start: Points | None) -> None:
        """Hand the rows to a new process."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.path.parent, prefix="job-"))
            inputs = self._frames, self._how, options, start, self.path
            (folder / "inputs.pickle").write_bytes(pickle.dumps(inputs))  # for our own process alone
        except OSError as error:
            raise StoreError(f"cannot write in {self.path.parent}: {error}. {ROOM}") from error
        try:
            with (folder / "printed.txt").open("wb") as printed:
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [sys.executable, "-P", "-c", "from ka_explore.probes.jobs import work; work()", str(folder)],
                    stdin=subprocess.PIPE,  # closed by the system when this process ends: the worker then ends too
                    stdout=subprocess.DEVNULL,
                    stderr=printed,
                    env=environment(),
                    start_new_session=True,  # an interrupted cell does not end the job
                )
        except (OSError, ValueError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise EmbeddingFailed(
                f"no process can be started for {NAMES[self._how]} ({error}): draw it in this one with "
                "ka_explore.probes.embedding.film, which takes as long and cannot be cancelled."
            ) from error
        self._folder = folder
        self.process = self._process.pid
        self._end = weakref.finalize(self, end, self._process, folder, os.getpid())

    def _opened(self) -> list[Points] | None:
        """The film from disk, if it is there and whole."""
        found = read_film(self.path, self._frames)
        if found is None:
            return None
        with suppress(OSError):
            os.utime(self.path)  # looked at just now
        self._last = Progress(1.0, "done")
        return dress(found, self._snapshots, self._space)

    def _settle(self) -> bool:
        """Whether it is over; fetches what came of it."""
        with self._lock:
            if self._film is not None or self._error is not None:
                return True
            code = self._process.poll()
            if code is None:
                return False
            if code == 0:
                self._film = self._opened()
            if self._film is None:
                self._error = what_happened(self._folder, code, NAMES[self._how])
            self._end()
            with suppress(OSError):
                trim()
            return True

    @property
    def done(self) -> bool:
        """Whether it is over: made, failed or cancelled."""
        return self._settle()

    @property
    def progress(self) -> Progress:
        """How far it is; never less than before."""
        with self._lock:
            if not self._settle():
                with suppress(OSError, ValueError):  # not begun, or being written
                    share, words = json.loads((self._folder / "progress.json").read_bytes())
                    self._last = max(Progress(min(share, 1.0), words), self._last, key=lambda p: p.share)
            return self._last

    def cancel(self) -> None:
        """End the worker at once; nothing of it stays. Without effect on a job that is over."""
        with self._lock:
            if not self._settle():
                self._error = EmbeddingFailed(f"this {NAMES[self._how]} was cancelled.")
                self._last = Progress(self._last.share, "cancelled")
                self._end()

    def result(self, timeout: float | None = None, *, show: bool | None = False) -> list[Points]:
        """The pictures, one a snapshot; waits for them.

        Args:
            timeout: seconds to wait; None for as long as it takes.
            show: True for a bar; None for one in a notebook and on a terminal.

        Raises:
            TimeoutError: when it takes longer; the job goes on.
            EmbeddingFailed: when the worker failed, was ended or was cancelled.
            InputError: when the rows cannot be drawn in this way.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        title = f"{NAMES[self._how]}, {len(self._frames)} picture{'s' if len(self._frames) > 1 else ''}"
        with progress_bar(100, title, unit="%", show=show) as bar:
            pause = 0.01
            while not self._settle():
                now = self.progress
                if time.monotonic() >= until:
                    at = f"{NAMES[self._how]} is at {now.share:.0%} after {timeout:g} s"
                    raise TimeoutError(f"{at} and goes on: ask again later.")
                bar.set_postfix_str(now.words, refresh=False)
                bar.update(int(100 * now.share) - bar.n)
                time.sleep(max(0.0, min(pause, until - time.monotonic())))
                pause = min(2 * pause, 0.2)
            bar.update(100 - bar.n)
        if self._error is not None:
            raise self._error
        return list(self._film or ())


def end(process: "subprocess.Popen[bytes]", folder: Path, owner: int) -> None:
    """End a worker and remove its folder; only in the process that began it, not in copies of that one."""
    if os.getpid() != owner:
        return
    process.kill()
    process.communicate()  # closes its input, and waits
    shutil.rmtree(folder, ignore_errors=True)


def environment() -> dict[str, str]:
    """The worker's: one thread, and this very package."""
    here = str(Path(__file__).resolve().parent.parent.parent)
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return dict(os.environ) | {f"{name}_NUM_THREADS": "1" for name in THREADS} | {"PYTHONPATH": os.pathsep.join(paths)}


def what_happened(folder: Path, code: int, name: str) -> KaError:
    """The error that a worker left, in the words of its own."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        left = json.loads((folder / "error.json").read_text(encoding="utf-8"))
        if left["kind"] == "InputError":
            return InputError(left["message"])
        if left["kind"] == "OSError":
            return StoreError(f"cannot keep the picture: {left['message']}. {ROOM}")
        return EmbeddingFailed(f"{name} failed: {left['message']}\n\nIn the worker:\n{left['trace']}")
    if code < 0:
        return EmbeddingFailed(f"the process of {name} was ended from outside (signal {-code}): too little memory?")
    printed = ""
    with suppress(OSError):
        printed = (folder / "printed.txt").read_text(encoding="utf-8", errors="replace")[-2000:].strip()
    return EmbeddingFailed(f"the process of {name} ended with code {code}: {printed or 'it said nothing'}")


def work() -> None:
    """What a worker does: it reads the folder named by its argument, writes the film under its name, and ends."""
    folder = Path(sys.argv[1])
    threading.Thread(target=end_with_the_caller, args=(folder,), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(5)  # training comes first
    try:
        frames, how, options, start, path = pickle.loads((folder / "inputs.pickle").read_bytes())
        if how.endswith("umap"):
            keep_compiled()

        def watch(share: float, words: str) -> None:
            (folder / "progress.json").write_text(json.dumps([float(share), words]))

        write_film(folder / "film.npz", lay_out(frames, how, options, start=start, watch=watch))
        os.replace(folder / "film.npz", path)
    except Exception as error:
        kind = next((k.__name__ for k in (InputError, OSError) if isinstance(error, k)), "other")
        message = str(error) if kind == "InputError" else f"{type(error).__name__}: {error}"
        left = {"kind": kind, "message": message, "trace": traceback.format_exc()[-4000:]}
        with suppress(OSError):
            (folder / "error.json").write_text(json.dumps(left), encoding="utf-8")
        sys.exit(1)


def keep_compiled() -> None:
    """Have umap-learn compile itself once, not in every worker: numba keeps on disk those functions that ask for it."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(kept_folder() / "compiled"))
    numba: Any = importlib.import_module("numba")
    numba.njit = partial(numba.njit, cache=True)


def end_with_the_caller(folder: Path) -> None:
    """Wait for the process that began this one to end, however it does, and then end too."""
    with suppress(OSError):
        while os.read(0, 1024):  # not sys.stdin: Python aborts when it ends while a thread holds its lock
            pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
