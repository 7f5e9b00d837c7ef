"""A run on disk; the only module that reads or writes it.

::

    runs/no-mmd/
      run.json                 what the run is: problem, method, configs, seed, fingerprints, versions, parent
      history.jsonl            one row a step; a fork starts with its parent's rows, so a folder stands alone
      checkpoints/000300.pt    weights and optimiser after 300 steps
      snapshots/000300.npz     a snapshot after 300 steps
      snapshots/teachers.npz   what the frozen teachers say of the probe set, which all snapshots share
      views/…npz               axes of pictures, for the next look
      examination.json         what the diagnosis found when it examined the teachers

Every file but the history appears whole or not at all, and so does a run: ``run.json`` is written last. What is read is
held against `ka_explore.run.schema`, whoever wrote it: what is damaged is left out, with a note, and nothing that is
read can run code (JSON, ``weights_only`` checkpoints, arrays without pickles).
"""

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ka_explore.errors import InputError, StoreError, brief, checked
from ka_explore.run.files import copy_file, open_regular, path_of, refuse_a_link, replace_file, writing
from ka_explore.run.making import claim, done, give_up, refuse_a_run, tidy
from ka_explore.run.schema import (
    FORMAT,
    MOST_ROW,
    check_snapshot,
    check_stored,
    demand,
    is_examination,
    is_row,
    is_whole,
    parse,
    read_about,
    read_arrays,
    read_json,
    to_json,
    with_tail,
    without_tail,
    wrong_fields,
)
from ka_explore.run.snapshot import Snapshot

__all__ = ["FORMAT", "Store", "replace_file", "to_json", "writing"]

ENDINGS = {"checkpoints": ".pt", "snapshots": ".npz"}
STEP = re.compile("[0-9]{6}|[1-9][0-9]{6,11}")
MOST_CHECKPOINT = 2**36  # bytes, where it is not known how many weights there are
MOST_HISTORY = 2**62  # it is read a row at a time
PICKLED = (
    "is damaged or holds pickled objects, which could run code: refused. Checkpoints hold tensors and numbers only."
)


class Store:
    """The folder of one run.

    Args:
        folder: of a run that exists; `create` makes one.

    Raises:
        InputError: there is no run in the folder.
        StoreError: it was written by a newer version, or ``run.json`` cannot be read.
    """

    def __init__(self, folder: str | Path):
        self._place(path_of(folder))
        self._stand(read_about(self.folder))

    def _place(self, folder: Path) -> None:
        """Where it is; only of a folder that is there can more be said."""
        self.folder = folder
        self._history = self.folder / "history.jsonl"
        self._teachers = self.folder / "snapshots" / "teachers.npz"
        self._lock = FileLock(self.folder / ".lock", blocking=False)
        self._tidied = False
        self.notes: list[str] = []  # what was left out, for the user
        self._good_end = self.rows_kept = 0  # byte and number of the rows that are known

    def _stand(self, about: dict[str, Any]) -> None:
        """What it is, and how far its history reaches."""
        self.about = about
        self.notes = []
        self._good_end, self.rows_kept = self._scan()
        self._read_to = (0, 0)  # row and byte where the last read ended: rows are mostly read in order
        self._shared: Mapping[str, np.ndarray] | None = None

    @classmethod
    def create(cls, folder: Path, about: Mapping[str, Any]) -> "Store":
        """A new run's folder. Raises InputError when a run is there, StoreError when it cannot be made."""
        with cls.making(folder, about) as store:
            return store

    @classmethod
    @contextmanager
    def making(cls, folder: Path, about: Mapping[str, Any]) -> Iterator["Store"]:
        """Within the ``with``: the store of a new run, which is there once the ``with`` ends well, and else is not.

        ``run.json`` is written last. What a process left that died before is swept up here. Raises as `create` does.
        """
        folder = path_of(folder)
        try:
            text = to_json({"format": FORMAT} | dict(about))
            wrong = wrong_fields(parse(text))
        except (TypeError, ValueError) as error:
            raise InputError(f"a run cannot be kept with what it is made of: {error}.") from error
        if wrong:
            raise InputError(f"a run cannot be kept with {', '.join(f'{w}={brief(about.get(w))}' for w in wrong)}.")
        refuse_a_run(folder)  # before a lock is made in it
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        store = cls.__new__(cls)
        store._place(folder)
        with store.lock():
            with writing(folder):
                claim(folder)
            try:
                store._stand(parse(text))
                yield store
                with writing(folder):
                    replace_file(folder / "run.json", lambda file: file.write(text))
            except BaseException:
                give_up(folder)
                raise
            done(folder)

    @checked
    def amend(self, *, name: str | None = None, parent: tuple[str, int] | None = None) -> None:
        """Give the run another name, or its parent's as it is now. Raises InputError or StoreError; all stays then."""
        if name is not None and not name.strip():
            raise InputError("a run's name has at least one letter, got none.")
        about = read_about(self.folder)  # as it is now: another store of this folder may have amended it
        if name is not None:
            about["name"] = name
        if parent is not None:
            about["parent"] = [str(parent[0]), int(parent[1])]
        with writing(self.folder):
            replace_file(self.folder / "run.json", lambda file: file.write(to_json(about)))
        self.about = about

    def _scan(self, end: int = 0, rows: int = 0) -> tuple[int, int]:
        """Byte and row after the last whole row; from a byte on, at which so many rows end."""
        note = ""
        try:
            with open_regular(self._history, MOST_HISTORY) as file:
                file.seek(end)
                while line := file.readline(MOST_ROW):
                    if not line.endswith(b"\n") or not is_row(line, rows + 1):
                        note = f"history.jsonl was cut off after step {rows}: what follows was dropped."
                        break
                    end += len(line)
                    rows += 1
        except FileNotFoundError:
            note = "history.jsonl is missing: the run starts with no rows."
        except OSError as error:
            note = f"history.jsonl cannot be read ({error}): the run starts with no rows."
        self.notes += [note] if note and note not in self.notes else []
        return end, rows

    def _catch_up(self) -> None:
        """Take up the rows that another process recorded meanwhile. Raises StoreError where known ones are gone."""
        there = self._history.stat().st_size if self._history.exists() else 0
        if there < self._good_end:
            raise StoreError(
                f"{self._history} has lost rows that this run recorded or read: put them back, or go on with what is "
                "there, Run.open(folder)."
            )
        if there > self._good_end:
            self._good_end, self.rows_kept = self._scan(self._good_end, self.rows_kept)

    # The history.

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row. Raises StoreError when it cannot be written; the rows before are kept."""
        line, mode = json.dumps(row).encode() + b"\n", "r+b" if self._history.exists() else "w+b"
        refuse_a_link(self._history)
        with writing(self.folder), self._history.open(mode, buffering=0) as file:
            file.truncate(self._good_end)  # a row cut off earlier must not stay in front of this one
            file.seek(self._good_end)
            if file.write(line) != len(line):
                raise OSError("the disk took only a part of the row")
        self._good_end += len(line)
        self.rows_kept += 1

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """The rows of steps ``start + 1`` to ``stop``, or to the last. Raises StoreError where they are gone."""
        stop = self.rows_kept if stop is None else min(stop, self.rows_kept)
        if start >= stop:
            return
        try:
            with open_regular(self._history, MOST_HISTORY) as file:
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
        except (OSError, ValueError) as error:
            raise StoreError(f"{self._history} cannot be read any more ({error}): open the run again.") from error

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

    def load_checkpoint(self, step: int, most: int = MOST_CHECKPOINT) -> dict[str, Any]:
        """A checkpoint of so many bytes at most. Raises StoreError for a damaged one, or one of other than tensors."""
        import torch

        path = self._path("checkpoints", step)
        try:
            with open_regular(path, most) as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, about formats it does not know
                check_stored(file)
                state = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
            raise StoreError(f"{path} {PICKLED}") from error
        except Exception as error:  # damaged bytes can raise anything
            raise StoreError(f"{path} cannot be read: {error!r}") from error
        weights, optimizer = map(state.get, ("method", "optimizer")) if isinstance(state, dict) else (None, None)
        fits = isinstance(weights, dict) and isinstance(optimizer, dict) and all(map(torch.is_tensor, weights.values()))
        if not fits or state.get("step", step) != step:
            raise StoreError(f"{path} is not the checkpoint of a run's step {step}.")
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
                self._shared = read_arrays(self._teachers)
            except Exception:  # damaged bytes can raise anything
                self._shared = {}
        return self._shared

    def release(self) -> None:
        """Forget what was read of the snapshots; it is read again when it is needed."""
        self._shared = None

    def load_snapshot(self, step: int) -> Snapshot:
        """A snapshot. Raises InputError when there is none of that step, StoreError when it is damaged."""
        if not is_whole(step) or step not in self.snapshot_steps():
            told = step if is_whole(step) else brief(step)
            raise InputError(f"no snapshot of step {told}; there are {self.snapshot_steps()}.")
        path = self._path("snapshots", step)
        try:
            arrays = read_arrays(path)
            about = parse(str(arrays["about"]))
            shared = {name: self._read_shared()[name] for name in about.get("shared", ())}
            snapshot = Snapshot(
                step=about["step"],
                stage=about["stage"],
                index=arrays["index"],
                labels={n[6:]: a for n, a in arrays.items() if n.startswith("label:")} or None,
                classes=tuple((task, label) for task, label in about["classes"]),
                knows={teacher: tuple(classes) for teacher, classes in about["knows"].items()},
                soft_term=about.get("soft_term", ""),
                arrays={n[6:]: with_tail(a, len(arrays["index"])) for n, a in arrays.items() if n.startswith("array:")}
                | shared,
            )
            teachers = self.about.get("teachers")
            check_snapshot(snapshot, step, None if teachers is None else [teacher["name"] for teacher in teachers])
        except Exception as error:  # damaged bytes can raise anything
            raise StoreError(f"{path} cannot be read: {error!r}") from error
        return snapshot

    def load_examination(self) -> dict[str, Any] | None:
        """What a diagnosis found of the teachers; None where none was kept, or it is damaged, which is noted."""
        try:
            found = read_json(self.folder / "examination.json")
            demand(is_examination(found), "what was found of each teacher")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.notes.append(f"examination.json cannot be read ({error}): it is left out.")
            return None
        return found

    # The folder as a whole.

    def _path(self, kind: str, step: int) -> Path:
        """The file of a step's checkpoint or snapshot."""
        return self.folder / kind / f"{step:06d}{ENDINGS[kind]}"

    def _steps(self, kind: str) -> list[int]:
        """The steps that have a file of this kind, in order."""
        found = (self.folder / kind).glob(f"*{ENDINGS[kind]}")
        return sorted(int(path.stem) for path in found if STEP.fullmatch(path.stem))

    @contextmanager
    def copying(self, folder: Path, about: Mapping[str, Any], *, rows: int) -> Iterator["Store"]:
        """`making`, with the first ``rows`` rows and what belongs to them: a fork."""
        with Store.making(folder, about) as other:
            with writing(other.folder):
                if rows and self.rows_kept:
                    with open_regular(self._history, MOST_HISTORY) as ours, other._history.open("wb") as theirs:
                        theirs.writelines(islice(ours, rows))
                for pattern in ("examination.json", "snapshots/teachers.npz"):
                    for path in self.folder.glob(pattern):
                        copy_file(path, other.folder / path.parent.relative_to(self.folder))
                for kind in ENDINGS:
                    for step in self._steps(kind):
                        if step <= rows and rows > 0:  # from step 0 on, other options may make other weights
                            copy_file(self._path(kind, step), other.folder / kind)
            other._stand(other.about)
            yield other

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Within the ``with`` this run is written here alone, and what others recorded is known.

        Raises StoreError while another process writes it.
        """
        if not self.folder.is_dir():  # it would be made anew
            raise StoreError(f"{self.folder} is not there any more: put it back, or make the run again.")
        refuse_a_link(self.folder / ".lock")
        try:
            with writing(self.folder):
                self._lock.acquire()
        except Timeout:
            raise StoreError(
                f"{self.folder} is being written by another process: wait for it, or fork the run."
            ) from None
        try:
            if not self._tidied:
                tidy(self.folder)
                self._tidied = True
            self._catch_up()
            yield
        finally:
            self._lock.release()
