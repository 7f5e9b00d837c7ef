"""The nets' features in the plane: student and teachers in one picture."""

from dataclasses import dataclass

import numpy as np

from ka_explore.errors import InputError
from ka_explore.results import Points
from ka_explore.snapshot import Snapshot


@dataclass(frozen=True)
class Basis:
    """A fixed linear view: pictures drawn with one basis can be compared.

    Attributes:
        mean: (feature,).
        axes: (2, feature), rows of length 1.
        kept: share of the variance each axis kept on the rows it was fitted to.
    """

    mean: np.ndarray
    axes: np.ndarray
    kept: tuple[float, float]


def rows_of(snapshot: Snapshot, of: str) -> dict[str, np.ndarray]:
    """Each net's rows, L2-normalised as the MMD sees them; values that are not finite count as zero."""
    group = snapshot.group(of)
    widths = {a.shape[1] for a in group.values()}
    if len(widths) > 1:
        raise InputError(f"{of}/… have different widths {sorted(widths)}: only nets in one space make one picture.")
    rows = {net: np.nan_to_num(a.astype(np.float64), posinf=0.0, neginf=0.0) for net, a in group.items()}
    return {net: a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12) for net, a in rows.items()}


def fit_basis(snapshot: Snapshot, of: str = "common") -> Basis:
    """The two principal axes of all nets' rows together, signs fixed so that they do not flip between runs."""
    rows = np.concatenate(list(rows_of(snapshot, of).values()))
    mean = rows.mean(axis=0)
    _, strength, axes = np.linalg.svd(rows - mean, full_matrices=False)
    total = max(float((strength**2).sum()), 1e-30)
    first = np.zeros((2, rows.shape[1]))
    first[: len(axes[:2])] = axes[:2]
    first *= np.where(first[np.arange(2), np.abs(first).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    shares = [float(s**2 / total) for s in strength[:2]] + [0.0, 0.0]
    return Basis(mean, first, (shares[0], shares[1]))


def pca(snapshot: Snapshot, basis: Basis | None = None, of: str = "common") -> Points:
    """Student and teachers in the common space, on two principal axes.

    Args:
        snapshot: of a stage that emits ``common/…``.
        basis: to draw several steps alike; by default fitted to this snapshot.
        of: which arrays; all must be of one width.

    Raises InputError when the stage emits none, or they are of different widths.
    """
    rows = rows_of(snapshot, of)
    basis = fit_basis(snapshot, of) if basis is None else basis
    everything = np.concatenate(list(rows.values())) - basis.mean
    xy = everything @ basis.axes.T
    kept = float((xy**2).sum() / max(float((everything**2).sum()), 1e-30))
    nets = tuple(rows)
    n = len(snapshot.index)
    label, labels = class_labels(snapshot)
    return Points(
        xy=xy,
        group=np.repeat(np.arange(len(nets)), n),
        groups=nets,
        sample=np.tile(np.arange(n), len(nets)),
        label=None if label is None else np.tile(label, len(nets)),
        labels=labels,
        axes=("1st principal axis (no unit)", "2nd principal axis (no unit)"),
        title=f"common space, step {snapshot.step}",
        note=f"keeps {kept:.0%} of the variance",
    )


def class_labels(snapshot: Snapshot) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The class of every sample in the first task that has labels, and the names of the classes."""
    for task, y in (snapshot.labels or {}).items():
        return y, tuple(label for t, label in snapshot.classes if t == task)
    return None, ()
