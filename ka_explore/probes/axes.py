"""The axes that a run and its forks are drawn on: fitted once, kept in the run's folder, the same for good."""

import hashlib
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ka_explore.errors import InputError, KaError, StoreError, checked
from ka_explore.probes.linear import Basis, fit_basis
from ka_explore.probes.probe import space_was_of
from ka_explore.probes.samples import evenly
from ka_explore.probes.spaces import width_of
from ka_explore.run.schema import read_arrays
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store, replace_file

BASIS_SNAPSHOTS = 5  # at most: the first, the last and some between


@space_was_of
@checked
def basis_of(store: Store | Path | str, space: str = "common") -> Basis:
    """The axes that a run and its forks are drawn on: fitted when first asked for, and then the same for good.

    Fitted to the first, the last and some snapshots between of those stored so far; kept in the run's folder, which
    forks copy. A file that is damaged is fitted anew; in a folder that cannot be written the axes are fitted each time.
    ``space`` is one of `ka_explore.probes.embedding.spaces`. Raises InputError when there is no run, or no snapshot has
    such arrays.
    """
    store = store if isinstance(store, Store) else Store(Path(store))
    found = read_basis(view_path(store.folder, space), space)
    return refreeze(store, space) if found is None else found


@space_was_of
@checked
def refreeze(store: Store | Path | str, space: str = "common") -> Basis:
    """Fit a run's axes anew to the snapshots it has by now; pictures drawn before do not fit these any more.

    Snapshots of stages that have no such arrays are passed over, and damaged ones.
    """
    store = store if isinstance(store, Store) else Store(Path(store))
    steps = store.snapshot_steps()
    if not steps:
        raise InputError(f"{store.folder} has no snapshot yet: run it with snapshot_every, or draw a snapshot's own.")
    usable: list[tuple[int, Snapshot]] = []
    refused: KaError | None = None
    for step in evenly(steps, BASIS_SNAPSHOTS)[::-1]:
        try:
            snapshot = store.load_snapshot(step)
            width = width_of(snapshot, space)
        except (InputError, StoreError) as error:
            refused = refused or error
            continue
        wanted = (space, f"regressed/{space.split('/', 1)[-1]}")
        arrays = {n: a for n, a in snapshot.arrays.items() if n in wanted or n.startswith(space + "/")}
        usable.append((width, replace(snapshot, arrays=arrays)))
    if not usable and refused is not None:
        raise refused
    basis = fit_basis([snapshot for width, snapshot in usable[::-1] if width == usable[0][0]], space)
    path = view_path(store.folder, space)
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        replace_file(path, lambda file: np.savez(file, of=np.array(space), **asdict(basis)))
    return basis


def view_path(folder: Path, space: str) -> Path:
    """Where a run keeps the axes of a space; layers may have any name."""
    return folder / "views" / f"{hashlib.sha256(space.encode()).hexdigest()[:16]}.npz"


def read_basis(path: Path, space: str) -> Basis | None:
    """Axes from disk; None when they are not there or damaged."""
    try:
        file = read_arrays(path)
        arrays = mean, axes, kept = file["mean"], file["axes"], file["kept"]
        steps, name = file["steps"], str(file["of"])
        whole = name == space and mean.ndim == 1 and axes.shape == (2, len(mean)) and kept.shape == (2,)
        if whole and all(np.isfinite(array).all() for array in arrays):
            return Basis(mean, axes, (float(kept[0]), float(kept[1])), tuple(map(int, steps)))
    except Exception:  # not there, or damaged bytes, which can raise anything
        pass
    return None
