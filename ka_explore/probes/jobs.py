"""t-SNE and UMAP off the main process, kept on disk; and the axes that a run and its forks are drawn on.

A worker is a Python process of its own, with one thread and without torch, that is handed arrays in a folder: it can
be watched and ended at any time, needs no guard in scripts, and ends with the process that began it. What it finds is
kept under the hash of all that it was made of, so a second look costs nothing.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ka_explore.errors import InputError, KaError, StoreError, unknown
from ka_explore.probes.embedding import (
    NAMES,
    announced_seconds,
    checked_options,
    frames_of,
    lay_out,
)
from ka_explore.probes.linear import Basis, dressed, fit_basis
from ka_explore.probes.probe import renamed
from ka_explore.probes.results import Points
from ka_explore.probes.spaces import Rows, width_of
from ka_explore.problem.folders import cache_root
from ka_explore.problem.progress import progress_bar
from ka_explore.run.snapshot import Snapshot

if TYPE_CHECKING:
    from ka_explore.run.store import Store

RECIPE = 1  # raised when the same inputs would make another picture
KEPT_BYTES = 256 * 2**20  # of pictures; beyond that the ones that were not looked at for longest are removed
ABANDONED_SECONDS = 24 * 3600.0  # after which a folder of a worker that nobody can be waiting for is removed
BASIS_SNAPSHOTS = 5  # at most: the first, the last and some between
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB", "NUMEXPR")


class EmbeddingFailed(KaError, RuntimeError):
    """A worker could not be started, came to no end, or was ended."""


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        share: 0 to 1.
        words: what it is doing.
    """

    share: float
    words: str


# Pictures made in a process of their own.


@renamed(of="space")
def embed(
    snapshots: Snapshot | Sequence[Snapshot],
    how: str = "tsne",
    space: str = "common",
    *,
    start: Points | None = None,
    **options: float,
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
    if how == "pca":
        raise InputError("PCA is instant and needs no process: call ka_explore.probes.embedding.pca, or film.")
    if how not in NAMES:
        raise unknown("way to draw", how, [name for name in NAMES if name != "pca"])
    if start is not None and how == "aligned_umap":
        raise InputError("aligned UMAP draws all steps at once: it cannot go on from a picture.")
    chosen = checked_options(how, options)
    return Embedding(several, frames_of(several, space), how, space, chosen, start)


@renamed(of="space")
def kept(snapshots: Sequence[Snapshot], how: str, space: str = "common") -> list[Points] | None:
    """A film that `embed` made before, of the same rows with the default options; None where there is none."""
    try:
        chosen = checked_options(how, {})
    except InputError:  # without the library that draws in this way there is none of this version
        return None
    frames = frames_of(snapshots, space)
    found = read_film(kept_folder() / f"{fingerprint(frames, how, chosen, None)}.npz", frames)
    return found and [dressed(p, s, space) for p, s in zip(found, snapshots, strict=True)]


class Embedding:
    """A film that is being made, or was found on disk. Made by `embed`.

    A job that nobody holds any more is ended, as are all when Python ends.

    Attributes:
        path: where the film is kept.
        announced: roughly how many seconds it takes; 0 when it was found.
        process: the worker's process id; None when the film was found.
    """

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        frames: Sequence[Rows],
        how: str,
        space: str,
        options: Mapping[str, float],
        start: Points | None,
    ):
        self._snapshots, self._frames, self._how, self._space = list(snapshots), list(frames), how, space
        self._lock = threading.RLock()
        self._error: KaError | None = None
        self._last = Progress(0.0, "starting")
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self.path = kept_folder() / f"{fingerprint(frames, how, options, start)}.npz"
        self._film = self._opened()
        self.announced = 0.0
        self.process: int | None = None
        if self._film is None:
            self.announced = announced_seconds(how, max(len(rows.values) for rows in frames), len(frames))
            self._begin(options, start)

    def _begin(self, options: Mapping[str, float], start: Points | None) -> None:
        """Hand the rows to a new process."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.path.parent, prefix="job-"))
            about = {"how": self._how, "options": dict(options), "path": str(self.path)}
            write_inputs(folder, self._frames, about, start)
        except OSError as error:
            raise StoreError(
                f"cannot write in {self.path.parent}: {error}. Make room, or set KA_EXPLORE_CACHE to another folder."
            ) from error
        try:
            with (folder / "printed.txt").open("wb") as printed:
                self._process = subprocess.Popen(
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
        return [dressed(p, s, self._space) for p, s in zip(found, self._snapshots, strict=True)]

    def _settle(self) -> bool:
        """Whether it is over; fetches what came of it."""
        with self._lock:
            if self._film is not None or self._error is not None:
                return True
            assert self._process is not None
            assert self._folder is not None
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
            if not self._settle() and self._folder is not None:
                now = read_progress(self._folder)
                if now is not None and now.share >= self._last.share:
                    self._last = now
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
        until = None if timeout is None else time.monotonic() + timeout
        title = f"{NAMES[self._how]}, {len(self._frames)} picture{'s' if len(self._frames) > 1 else ''}"
        with progress_bar(100, title, unit="%", show=show) as bar:
            pause = 0.01
            while not self._settle():
                if until is not None and time.monotonic() >= until:
                    share = self.progress.share
                    raise TimeoutError(
                        f"{NAMES[self._how]} is at {share:.0%} after {timeout:g} s and goes on: ask again later."
                    )
                time.sleep(pause if until is None else max(0.0, min(pause, until - time.monotonic())))
                pause = min(2 * pause, 0.2)
                now = self.progress
                bar.set_postfix_str(now.words, refresh=False)
                bar.update(int(100 * now.share) - bar.n)
            bar.update(100 - bar.n)
        if self._film is None:
            assert self._error is not None
            raise self._error
        return list(self._film)


def end(process: "subprocess.Popen[bytes]", folder: Path, owner: int) -> None:
    """End a worker and remove its folder; only in the process that began it, not in copies of that one."""
    if os.getpid() != owner:
        return
    with suppress(OSError):
        process.kill()
    process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
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
            return StoreError(
                f"cannot keep the picture: {left['message']}. Make room, or set KA_EXPLORE_CACHE to another folder."
            )
        return EmbeddingFailed(f"{name} failed: {left['message']}\n\nIn the worker:\n{left['trace']}")
    printed = ""
    with suppress(OSError):
        printed = (folder / "printed.txt").read_text(encoding="utf-8", errors="replace")[-2000:].strip()
    if code < 0:
        return EmbeddingFailed(f"the process of {name} was ended from outside (signal {-code}): too little memory?")
    return EmbeddingFailed(f"the process of {name} ended with code {code}: {printed or 'it said nothing'}")


# What is kept.


def kept_folder() -> Path:
    """Where films are kept."""
    return cache_root() / "embeddings"


def forget() -> int:
    """Remove all kept films; says how many there were. Jobs that are being made go on."""
    count = 0
    for path in kept_folder().glob("*.npz"):
        with suppress(OSError):
            path.unlink()
            count += 1
    return count


def trim() -> None:
    """Remove what was not looked at for longest, beyond `KEPT_BYTES`, and folders of workers long gone."""
    about = [(path, path.stat()) for path in kept_folder().glob("*.npz")]
    about.sort(key=lambda pair: pair[1].st_mtime, reverse=True)
    total = 0
    for path, stat in about:
        total += stat.st_size
        if total > KEPT_BYTES and path != about[0][0]:
            path.unlink(missing_ok=True)
    for folder in kept_folder().glob("job-*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def fingerprint(frames: Sequence[Rows], how: str, options: Mapping[str, float], start: Points | None) -> str:
    """Hash of all that a film is made of: rows, way, options, versions. No label is among it."""
    libraries = ("numpy", "scikit-learn", *(("umap-learn", "numba") if how.endswith("umap") else ()))
    about: list[Any] = [RECIPE, how, sorted(options.items()), [(name, installed(name)) for name in libraries]]
    digest = hashlib.sha256()
    for rows in frames:
        about.append([rows.groups, rows.values.shape, str(rows.values.dtype)])
        for array in (rows.values, rows.group, rows.sample):
            digest.update(np.ascontiguousarray(array).data)
    if start is not None:
        about.append(["start", start.groups, start.xy.shape])
        for array in (start.xy, start.group, start.sample):
            digest.update(np.ascontiguousarray(array).data)
    digest.update(json.dumps(about).encode())
    return digest.hexdigest()[:32]


def installed(name: str) -> str:
    """The version of a package; empty when it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def write_film(path: Path, film: Sequence[Points]) -> None:
    """Positions, quality and notes in one file without pickles."""
    about = [{"quality": dict(p.quality), "note": p.note, "axes": p.axes} for p in film]
    arrays = {f"xy{place}": p.xy for place, p in enumerate(film)}
    with path.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def read_film(path: Path, frames: Sequence[Rows]) -> list[Points] | None:
    """The film of these rows; None when it is not there or damaged: it is then made anew."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            positions = [file[f"xy{place}"] for place in range(len(frames))]
        film = [
            Points(
                xy,
                rows.group,
                rows.groups,
                rows.sample,
                quality={str(name): float(value) for name, value in words["quality"].items()},
                axes=(str(words["axes"][0]), str(words["axes"][1])),
                note=str(words["note"]),
            )
            for xy, rows, words in zip(positions, frames, about, strict=True)
        ]
    except Exception:  # damaged bytes can raise anything
        return None
    whole = all(p.xy.shape == (len(p.sample), 2) and p.xy.dtype == np.float64 for p in film)
    return film if whole and all(np.isfinite(p.xy).all() for p in film) else None


# What passes between this process and the worker.


def write_inputs(folder: Path, frames: Sequence[Rows], about: Mapping[str, Any], start: Points | None) -> None:
    """Everything the worker needs."""
    arrays: dict[str, np.ndarray] = {}
    for place, rows in enumerate(frames):
        arrays |= {f"{name}{place}": getattr(rows, name) for name in ("values", "group", "sample")}
    if start is not None:
        arrays |= {"start_xy": start.xy, "start_group": start.group, "start_sample": start.sample}
    words = dict(about) | {"groups": [rows.groups for rows in frames], "start": start.groups if start else None}
    np.savez(folder / "inputs.npz", about=np.array(json.dumps(words)), **arrays)  # type: ignore[arg-type]


def read_inputs(folder: Path) -> tuple[dict[str, Any], list[Rows], Points | None]:
    """The same, in the worker."""
    with np.load(folder / "inputs.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        frames = [
            Rows(file[f"values{place}"], file[f"group{place}"], tuple(groups), file[f"sample{place}"])
            for place, groups in enumerate(about["groups"])
        ]
        start = None
        if about["start"] is not None:
            start = Points(file["start_xy"], file["start_group"], tuple(about["start"]), file["start_sample"])
    return about, frames, start


def read_progress(folder: Path) -> Progress | None:
    """The last whole line that the worker wrote."""
    try:
        with (folder / "progress.jsonl").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 1000))
            lines = file.read().split(b"\n")
        share, words = json.loads(lines[-2])
        return Progress(min(max(float(share), 0.0), 1.0), str(words))
    except (OSError, ValueError, IndexError, TypeError):
        return None


def work() -> None:
    """What a worker does: it reads the folder named by its argument, writes the film under its name, and ends."""
    folder = Path(sys.argv[1])
    threading.Thread(target=end_with_the_caller, args=(folder,), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(5)  # training comes first
    try:
        about, frames, start = read_inputs(folder)
        with (folder / "progress.jsonl").open("ab", buffering=0) as log:

            def watch(share: float, words: str) -> None:
                log.write(json.dumps([share, words]).encode() + b"\n")

            film = lay_out(frames, about["how"], about["options"], start=start, watch=watch)
        write_film(folder / "film.npz", film)
        os.replace(folder / "film.npz", about["path"])
    except Exception as error:
        kind = next((k.__name__ for k in (InputError, OSError) if isinstance(error, k)), "other")
        message = str(error) if kind == "InputError" else f"{type(error).__name__}: {error}"
        left = {"kind": kind, "message": message, "trace": traceback.format_exc()[-4000:]}
        with suppress(OSError):
            (folder / "error.json").write_text(json.dumps(left), encoding="utf-8")
        sys.exit(1)


def end_with_the_caller(folder: Path) -> None:
    """Wait for the process that began this one to end, however it does, and then end too."""
    with suppress(OSError):
        while os.read(0, 1024):  # not sys.stdin: Python aborts when it ends while a thread holds its lock
            pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


# The axes of a run.


@renamed(of="space")
def basis_of(store: "Store | Path | str", space: str = "common") -> Basis:
    """The axes that a run and its forks are drawn on: fitted when first asked for, and then the same for good.

    Fitted to the first, the last and some snapshots between of those stored so far; kept in the run's folder, which
    forks copy. A file that is damaged is fitted anew; in a folder that cannot be written the axes are fitted each time.

    Args:
        store: the run's store, or its folder.
        space: one of `ka_explore.probes.embedding.spaces`.

    Raises InputError when there is no run, or no snapshot has such arrays.
    """
    opened = opened_store(store)
    path = view_path(opened.folder, space)
    found = read_basis(path, space)
    return refreeze(opened, space) if found is None else found


@renamed(of="space")
def refreeze(store: "Store | Path | str", space: str = "common") -> Basis:
    """Fit a run's axes anew to the snapshots it has by now; pictures drawn before do not fit these any more."""
    from ka_explore.run.store import replace_file

    opened = opened_store(store)
    basis = fitted(opened, space)
    path = view_path(opened.folder, space)
    arrays = {"mean": basis.mean, "axes": basis.axes, "kept": np.array(basis.kept), "steps": np.array(basis.steps)}
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        replace_file(path, lambda file: np.savez(file, of=np.array(space), **arrays))  # type: ignore[arg-type]
    return basis


def fitted(store: "Store", space: str) -> Basis:
    """Axes of a few of a run's snapshots; those of stages that have no such arrays are passed over."""
    steps = store.snapshot_steps()
    if not steps:
        raise InputError(f"{store.folder} has no snapshot yet: run it with snapshot_every, or draw a snapshot's own.")
    places = np.unique(np.linspace(0, len(steps) - 1, BASIS_SNAPSHOTS).round().astype(int))
    usable: list[tuple[int, Snapshot]] = []
    refused: InputError | None = None
    for place in places[::-1]:
        snapshot = store.load_snapshot(steps[place])
        try:
            width = width_of(snapshot, space)
        except InputError as error:
            refused = refused or error
            continue
        usable.append((width, replace(snapshot, arrays=only(snapshot, space))))
    if not usable and refused is not None:
        raise refused
    return fit_basis([snapshot for width, snapshot in usable[::-1] if width == usable[0][0]], space)


def only(snapshot: Snapshot, space: str) -> dict[str, np.ndarray]:
    """The arrays that a picture may be drawn of."""
    layer = space.split("/", 1)[-1]
    wanted = (space, f"regressed/{layer}")
    return {name: a for name, a in snapshot.arrays.items() if name in wanted or name.startswith(space + "/")}


def view_path(folder: Path, space: str) -> Path:
    """Where a run keeps the axes of a space; layers may have any name."""
    return folder / "views" / f"{hashlib.sha256(space.encode()).hexdigest()[:16]}.npz"


def read_basis(path: Path, space: str) -> Basis | None:
    """Axes from disk; None when they are not there or damaged."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            mean, axes, shares = file["mean"], file["axes"], file["kept"]
            steps, name = file["steps"], str(file["of"])
        whole = name == space and mean.ndim == 1 and axes.shape == (2, len(mean)) and shares.shape == (2,)
        if not whole or not all(np.isfinite(a).all() for a in (mean, axes, shares)):
            return None
        return Basis(mean, axes, (float(shares[0]), float(shares[1])), tuple(int(step) for step in steps))
    except Exception:  # damaged bytes can raise anything
        return None


def opened_store(store: "Store | Path | str") -> "Store":
    """A run's store by its folder."""
    from ka_explore.run.store import Store

    return store if isinstance(store, Store) else Store(Path(store))
