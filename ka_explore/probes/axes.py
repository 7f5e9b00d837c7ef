"""The axes that a figure of runs is drawn on: fitted to all that it shows, kept in a run's folder for the next look."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ka_explore.errors import InputError, KaError, StoreError, checked
from ka_explore.probes.clouds import KINDS, Basis, Kind
from ka_explore.probes.fitting import fit_basis
from ka_explore.probes.probe import space_was_of
from ka_explore.probes.samples import evenly
from ka_explore.probes.spaces import width_of
from ka_explore.run.schema import read_arrays
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store, replace_file

BASIS_SNAPSHOTS = 5  # of a run, at most: the first, the last and some between
RECIPE = 1  # raised when the same snapshots would have other axes


@space_was_of
@checked
def basis_of(
    stores: Store | Path | str | Sequence[Store | Path | str], space: str = "common", kind: Kind = "pca"
) -> Basis:
    """The axes that one figure of these runs is drawn on: a run, or several (a run and its forks) that share them.

    Fitted to the first, the last and some snapshots between of each; those of stages that have no such arrays are
    passed over, and damaged ones, and such as are of another width than the first run's last. Kept in the first run's
    folder, and fitted anew where a run has other snapshots by now; also what an older version kept. In a folder that
    cannot be written the axes are fitted each time.

    Args:
        space: one of `ka_explore.probes.embedding.spaces`.
        kind: see `fit_basis`.

    Raises InputError when there is no run, or no snapshot has such arrays.
    """
    given = [stores] if isinstance(stores, (Store, Path, str)) else list(stores)
    runs = [store if isinstance(store, Store) else Store(Path(store)) for store in given]
    if not runs:
        raise InputError("basis_of got no run: expected at least one.")
    path, stamp = view_path(runs[0].folder, space, kind), stamp_of(runs)
    if (found := read_basis(path, space, stamp)) is not None:
        return found
    basis = fit_basis(usable(runs, space), space, kind)
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        replace_file(path, lambda file: np.savez(file, of=np.array(space), stamp=np.array(stamp), **asdict(basis)))
    return basis


def usable(runs: Sequence[Store], space: str) -> list[list[Snapshot]]:
    """A few snapshots of each run that has any with the space, at the width of the last one found first.

    Raises InputError where none has.
    """
    if not any(store.snapshot_steps() for store in runs):
        raise InputError(f"{runs[0].folder} has no snapshot yet: run it with snapshot_every, or draw a snapshot's own.")
    wide: list[list[tuple[int, Snapshot]]] = []
    refused: KaError | None = None
    for store in runs:
        wide.append([])
        for step in evenly(store.snapshot_steps(), BASIS_SNAPSHOTS):
            try:
                snapshot = store.load_snapshot(step)
                wide[-1].append((width_of(snapshot, space), light(snapshot, space)))
            except (InputError, StoreError) as error:
                refused = error
    widths = [found[-1][0] for found in wide if found]
    if not widths and refused is not None:
        raise refused
    chosen = ([snapshot for width, snapshot in found if width == widths[0]] for found in wide)
    return [snapshots for snapshots in chosen if snapshots]


def light(snapshot: Snapshot, space: str) -> Snapshot:
    """What axes are fitted to: the arrays of a space, and the answers of the nets."""
    kinds = (space, f"regressed/{space.split('/', 1)[-1]}")
    arrays = snapshot.arrays.items()
    kept = {n: a for n, a in arrays if n in kinds or n.startswith((space + "/", "logits/"))}
    return replace(snapshot, arrays=kept)


def stamp_of(runs: Sequence[Store]) -> str:
    """What tells the stored snapshots of runs from other ones: names, sizes and times of their files."""
    files = []
    for store in runs:
        paths = sorted((store.folder / "snapshots").glob("*.npz"))
        files.append([(path.name, (about := path.stat()).st_size, about.st_mtime_ns) for path in paths])
    return hashlib.sha256(json.dumps([RECIPE, files]).encode()).hexdigest()


def view_path(folder: Path, space: str, kind: Kind = "pca") -> Path:
    """Where a run keeps the axes of a space; layers may have any name."""
    told = space if kind == "pca" else f"{kind} of {space}"
    return folder / "views" / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz"


def read_basis(path: Path, space: str, stamp: str) -> Basis | None:
    """Axes from disk; None when they are not there, damaged, or of other snapshots."""
    try:
        file = read_arrays(path)
        arrays = mean, axes, kept = file["mean"], file["axes"], file["kept"]
        steps, of, kind = tuple(map(int, file["steps"])), (str(file["of"]), str(file["stamp"])), str(file["kind"])
        whole = of == (space, stamp) and mean.ndim == 1 and axes.shape == (2, len(mean)) and kept.shape == (2,)
        if whole and kind in KINDS and all(np.isfinite(array).all() for array in arrays):
            return Basis(mean, axes, (float(kept[0]), float(kept[1])), steps, kind, int(file["runs"]))  # type: ignore[arg-type]
    except Exception:  # not there, of an older version, or damaged bytes, which can raise anything
        pass
    return None
