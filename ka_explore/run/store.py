"""A run on disk; the only module that reads or writes it.

::

    runs/no-mmd/
      run.json                 what the run is: problem, method, configs, seed, fingerprints, versions, parent
      history.jsonl            one row a step; a fork starts with its parent's rows, so a folder stands alone
      checkpoints/000300.pt    weights and optimiser after 300 steps
      snapshots/000300.npz     a snapshot after 300 steps
      snapshots/teachers.npz   what the frozen teachers say of the probe set, which all snapshots share
      views/…npz               axes of pictures that are the same for the run and its forks
      examination.json         what the diagnosis found when it examined the teachers

Every file but the history appears whole or not at all; of the history a last row that was cut off is left out.
Nothing that is read can run code: JSON, ``weights_only`` checkpoints, arrays without pickles.
"""

import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from filelock import FileLock, Timeout

from ka_explore.errors import InputError, StoreError
from ka_explore.run.snapshot import Snapshot

FORMAT = 1
ENDINGS = {"checkpoints": ".pt", "snapshots": ".npz"}


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether a value is a whole number of at least that."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_pair(value: Any, first: type, second: type) -> bool:
    """Whether a value is a list of these two."""
    return isinstance(value, list) and len(value) == 2 and all(map(isinstance, value, (first, second)))


# What run.json must hold to be a run's, and what each field must be like.
FIELDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("name", "method", "device", "precision"), lambda value: isinstance(value, str)),
    **dict.fromkeys(("fingerprints", "environment"), lambda value: isinstance(value, dict)),
    "problem": lambda value: isinstance(value, dict) and isinstance(value.get("options"), dict) and "name" in value,
    "configs": lambda value: isinstance(value, list) and bool(value) and all(is_pair(v, int, dict) for v in value),
    "seed": is_whole,
    "checkpoint_every": lambda value: is_whole(value, 1),
    "snapshot_every": is_whole,
    "threads": lambda value: value is None or is_whole(value, 1),
    "parent": lambda value: value is None or is_pair(value, str, int),
    "tasks": lambda value: value is None or (isinstance(value, list) and all(isinstance(v, str) for v in value)),
}


class Store:
    """The folder of one run.

    Args:
        folder: of a run that exists; `create` makes one.

    Raises:
        InputError: there is no run in the folder.
        StoreError: it was written by a newer version, or ``run.json`` cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._history = self.folder / "history.jsonl"
        self._teachers = self.folder / "snapshots" / "teachers.npz"
        self.notes: list[str] = []  # what opening left out, for the user
        self.about = self._read_about()
        self._good_end, self.rows_kept = self._scan()
        self._read_to = (0, 0)  # row and byte where the last read ended: rows are mostly read in order
        self._shared: Mapping[str, np.ndarray] | None = None
        self._lock = FileLock(self.folder / ".lock", blocking=False)

    @classmethod
    def create(cls, folder: Path, about: Mapping[str, Any]) -> "Store":
        """A new run's folder. Raises InputError when a run is there, StoreError when it cannot be made."""
        folder = Path(folder)
        if (folder / "run.json").exists():
            raise InputError(f"there is a run in {folder}: open it with Run.open, or choose another folder.")
        with writing(folder):
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            (folder / "snapshots").mkdir(exist_ok=True)
            (folder / "history.jsonl").touch()
            replace_file(folder / "run.json", lambda file: file.write(to_json({"format": FORMAT} | dict(about))))
        return cls(folder)

    def _read_about(self) -> dict[str, Any]:
        path = self.folder / "run.json"
        if not path.exists():
            raise InputError(f"there is no run in {self.folder}: expected a folder with run.json.")
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            version = int(about["format"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise StoreError(f"{path} cannot be read ({error}): it is not a run's, or was damaged.") from error
        if version > FORMAT:
            raise StoreError(
                f"{self.folder} was written in format {version}, this version reads up to {FORMAT}: update ka-explore."
            )
        wrong = [field for field, fits in FIELDS.items() if field not in about or not fits(about[field])]
        if wrong:
            raise StoreError(f"{path} lacks or garbles {', '.join(wrong)}: it is not a run's, or was damaged.")
        return about

    def amend(self, *, name: str | None = None, parent: tuple[str, int] | None = None) -> None:
        """Give the run another name, or its parent's as it is now. Raises InputError or StoreError; all stays then."""
        if name is not None and not name.strip():
            raise InputError("a run's name has at least one letter, got none.")
        about = self._read_about()  # as it is now: another store of this folder may have amended it
        if name is not None:
            about["name"] = name
        if parent is not None:
            about["parent"] = [str(parent[0]), int(parent[1])]
        with writing(self.folder):
            replace_file(self.folder / "run.json", lambda file: file.write(to_json(about)))
        self.about = about

    def _scan(self) -> tuple[int, int]:
        """Byte and row after the last whole row."""
        end = rows = 0
        if not self._history.exists():
            self.notes.append("history.jsonl is missing: the run starts with no rows.")
            return 0, 0
        with self._history.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n") or not is_row(line, rows + 1):
                    self.notes.append(f"history.jsonl was cut off after step {rows}: what follows was dropped.")
                    break
                end += len(line)
                rows += 1
        return end, rows

    # The history.

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row. Raises StoreError when it cannot be written; the rows before are kept."""
        line, mode = json.dumps(row).encode() + b"\n", "r+b" if self._history.exists() else "w+b"
        with writing(self.folder), self._history.open(mode, buffering=0) as file:
            file.truncate(self._good_end)  # a row cut off earlier must not stay in front of this one
            file.seek(self._good_end)
            if file.write(line) != len(line):
                raise OSError("the disk took only a part of the row")
        self._good_end += len(line)
        self.rows_kept += 1

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """The rows of steps ``start + 1`` to ``stop``, or to the last recorded."""
        stop = self.rows_kept if stop is None else min(stop, self.rows_kept)
        if start >= stop:
            return
        with self._history.open("rb") as file:
            row, byte = self._read_to  # once: another thread may read too
            if row > start:
                row, byte = 0, 0
            file.seek(byte)
            while row < stop:
                line = file.readline()
                row, byte = row + 1, byte + len(line)
                if row > start:
                    self._read_to = (row, byte)
                    yield json.loads(line)

    def row(self, index: int) -> dict[str, Any]:
        """The row of step ``index + 1``."""
        return next(self.rows(index, index + 1))

    # Checkpoints.

    def checkpoint_steps(self) -> list[int]:
        """The steps of the checkpoints that the recorded rows reach, in order."""
        return [step for step in self._steps("checkpoints") if step <= self.rows_kept]

    def save_checkpoint(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint whole or not at all. Raises StoreError."""
        import torch  # only here and below: whoever reads rows and snapshots needs none

        with writing(self.folder):
            replace_file(self._path("checkpoints", step), lambda file: torch.save(dict(state), file))

    def load_checkpoint(self, step: int) -> dict[str, Any]:
        """A checkpoint. Raises StoreError when it is damaged or holds anything but tensors and numbers."""
        import torch

        path = self._path("checkpoints", step)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, about formats it does not know
                state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise StoreError(
                f"{path} is damaged or holds pickled objects, which could run code: refused. "
                "Checkpoints hold tensors and numbers only."
            ) from error
        except Exception as error:  # damaged bytes can raise anything
            raise StoreError(f"{path} cannot be read: {error!r}") from error
        weights, optimizer = map(state.get, ("method", "optimizer")) if isinstance(state, dict) else (None, None)
        fits = isinstance(weights, dict) and isinstance(optimizer, dict) and all(map(torch.is_tensor, weights.values()))
        if not fits:
            raise StoreError(f"{path} is not a checkpoint of a run.")
        return state

    # Snapshots.

    def snapshot_steps(self) -> list[int]:
        """The steps of the stored snapshots, in order."""
        return self._steps("snapshots")

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot whole or not at all. Raises StoreError."""
        with writing(self.folder):
            shared = self._share(snapshot)
        about: dict[str, Any] = {"step": snapshot.step, "stage": snapshot.stage, "classes": snapshot.classes}
        about |= {"knows": dict(snapshot.knows), "soft_term": snapshot.soft_term, "shared": shared}
        arrays: dict[str, Any] = {f"array:{n}": without_tail(a) for n, a in snapshot.arrays.items() if n not in shared}
        arrays |= {f"label:{task}": y for task, y in (snapshot.labels or {}).items()}
        arrays |= {"index": snapshot.index, "about": np.array(json.dumps(about))}
        with writing(self.folder):
            replace_file(self._path("snapshots", snapshot.step), lambda file: np.savez(file, **arrays))

    def _share(self, snapshot: Snapshot) -> list[str]:
        """The arrays that stand in ``snapshots/teachers.npz``: the frozen teachers say the same in every snapshot."""
        own = [f"{kind}/{teacher}" for teacher in snapshot.knows for kind in ("logits", "feature")]
        arrays: dict[str, Any] = {
            n: a for n, a in snapshot.arrays.items() if any(n == o or n.startswith(o + "/") for o in own)
        }
        if not self._teachers.exists():
            replace_file(self._teachers, lambda file: np.savez(file, **arrays))
            self._shared = arrays
        there = self._read_shared()
        return [n for n, a in arrays.items() if n in there and np.array_equal(a, there[n], equal_nan=True)]

    def _read_shared(self) -> Mapping[str, np.ndarray]:
        """What the snapshots share; nothing where the file is missing or damaged."""
        if self._shared is None:
            try:
                with self._teachers.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                    self._shared = {name: file[name] for name in file.files}
            except Exception:  # damaged bytes can raise anything
                self._shared = {}
        return self._shared

    def release(self) -> None:
        """Forget what was read of the snapshots; it is read again when it is needed."""
        self._shared = None

    def load_snapshot(self, step: int) -> Snapshot:
        """A snapshot. Raises InputError when there is none of that step, StoreError when it is damaged."""
        path = self._path("snapshots", step)
        if not path.exists():
            raise InputError(f"no snapshot of step {step}; there are {self.snapshot_steps()}.")
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                arrays = {name: file[name] for name in file.files}
            shared = {name: self._read_shared()[name] for name in about.get("shared", ())}
            return Snapshot(
                step=about["step"],
                stage=about["stage"],
                index=arrays["index"],
                labels={n[6:]: a for n, a in arrays.items() if n.startswith("label:")} or None,
                classes=tuple((task, label) for task, label in about["classes"]),
                knows={teacher: tuple(classes) for teacher, classes in about["knows"].items()},
                soft_term=str(about.get("soft_term", "")),
                arrays={n[6:]: with_tail(a, len(arrays["index"])) for n, a in arrays.items() if n.startswith("array:")}
                | shared,
            )
        except Exception as error:  # damaged bytes can raise anything
            raise StoreError(f"{path} cannot be read: {error!r}") from error

    # The folder as a whole.

    def _path(self, kind: str, step: int) -> Path:
        """The file of a step's checkpoint or snapshot."""
        return self.folder / kind / f"{step:06d}{ENDINGS[kind]}"

    def _steps(self, kind: str) -> list[int]:
        """The steps that have a file of this kind, in order."""
        return sorted(int(p.stem) for p in (self.folder / kind).glob(f"*{ENDINGS[kind]}") if p.stem.isdigit())

    def copy(self, folder: Path, about: Mapping[str, Any], *, rows: int) -> "Store":
        """A new run's folder with the first ``rows`` rows and what belongs to them: a fork."""
        other = Store.create(folder, about)
        try:
            with writing(folder):
                if rows and self.rows_kept:
                    with self._history.open("rb") as ours, other._history.open("wb") as theirs:
                        theirs.writelines(islice(ours, rows))
                for pattern in ("examination.json", "snapshots/teachers.npz", "views/*"):
                    for path in self.folder.glob(pattern):
                        copy_file(path, folder / path.parent.relative_to(self.folder))
                for kind in ENDINGS:
                    for step in self._steps(kind):
                        if step <= rows and rows > 0:  # from step 0 on, other options may make other weights
                            copy_file(self._path(kind, step), folder / kind)
        except StoreError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Store(other.folder)

    def lock(self) -> FileLock:
        """Held while a run is written. Raises StoreError when another process writes it."""
        try:
            with writing(self.folder):
                return self._lock.acquire()  # type: ignore[return-value]
        except Timeout:
            raise StoreError(
                f"{self.folder} is being written by another process: wait for it, or fork the run."
            ) from None


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
    part = path.parent / f"{uuid4().hex}.part"
    try:
        with part.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def copy_file(source: Path, folder: Path) -> None:
    """A hard link where the disk can (none of these is ever changed in place), a copy elsewhere."""
    folder.mkdir(exist_ok=True)
    try:
        os.link(source, folder / source.name)
    except OSError:
        shutil.copy2(source, folder / source.name)


def without_tail(array: np.ndarray) -> np.ndarray:
    """An array without its last samples that are NaN throughout: many are of the first samples only."""
    if array.dtype.kind != "f" or not len(array):
        return array
    told = np.flatnonzero(~np.isnan(array).all(axis=tuple(range(1, array.ndim))))
    return array[: told[-1] + 1] if len(told) else array[:0]


def with_tail(array: np.ndarray, samples: int) -> np.ndarray:
    """The array with NaN for its last samples again. Raises ValueError for more samples than there are."""
    if array.dtype.kind != "f" or len(array) == samples:
        return array
    return np.concatenate([array, np.full((samples - len(array), *array.shape[1:]), np.nan, array.dtype)])


def is_row(line: bytes, step: int) -> bool:
    """Whether a line is the whole row of that step."""
    try:
        return bool(json.loads(line)["step"] == step)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def to_json(about: Mapping[str, Any]) -> bytes:
    """JSON that a person can read."""
    return (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
