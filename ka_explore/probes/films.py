"""Films kept on disk under the hash of all that they were made of, so that a second look costs nothing."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ka_explore.probes.results import Points
from ka_explore.probes.spaces import Rows
from ka_explore.problem.folders import cache_root

RECIPE = 2  # raised when the same inputs would make another picture
KEPT_BYTES = 256 * 2**20  # of pictures; beyond that the ones that were not looked at for longest are removed
ABANDONED_SECONDS = 24 * 3600.0  # after which a folder of a worker that nobody can be waiting for is removed


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
    films = {path: path.stat() for path in kept_folder().glob("*.npz")}
    newest = sorted(films, key=lambda path: films[path].st_mtime, reverse=True)
    for path, total in zip(newest, accumulate(films[path].st_size for path in newest), strict=True):
        if total > KEPT_BYTES and path != newest[0]:
            path.unlink(missing_ok=True)
    for folder in kept_folder().glob("job-*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def fingerprint(frames: Sequence[Rows], how: str, options: Mapping[str, float], start: Points | None) -> str:
    """Hash of all that a film is made of: rows, way, options, versions. No label is among it."""
    libraries = ("numpy", "scikit-learn", *(("umap-learn", "numba") if how.endswith("umap") else ()))
    about: list[Any] = [RECIPE, how, sorted(options.items()), [(name, installed(name)) for name in libraries]]
    arrays: list[np.ndarray] = []
    for rows in frames:
        about.append([rows.groups, rows.values.shape, str(rows.values.dtype)])
        arrays += [rows.values, rows.group, rows.sample]
    if start is not None:
        about.append(["start", start.groups, start.xy.shape])
        arrays += [start.xy, start.group, start.sample]
    digest = hashlib.sha256()
    for array in arrays:
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
    arrays = {f"xy{i}": p.xy for i, p in enumerate(film)}
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
            positions = [file[f"xy{i}"] for i in range(len(frames))]
        parts = zip(positions, frames, about, strict=True)
        film = [rows.drawn(xy, **words | {"axes": tuple(words["axes"])}) for xy, rows, words in parts]
    except Exception:  # damaged bytes can raise anything
        return None
    whole = all(p.xy.shape == (len(p.sample), 2) and p.xy.dtype == np.float64 for p in film)
    return film if whole and all(np.isfinite(p.xy).all() for p in film) else None
