"""The linear view: all nets on two principal axes, which can be fixed, so that every step is drawn alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ka_explore.errors import InputError, checked
from ka_explore.probes.probe import probe, space_was_of
from ka_explore.probes.quality import judge
from ka_explore.probes.results import Points, as_numbers
from ka_explore.probes.spaces import CHUNK, Plane, Rows, class_labels, name_of, rows_of, rows_together
from ka_explore.run.snapshot import Snapshot


@checked
@dataclass(frozen=True)
class Basis:
    """A fixed linear view: pictures drawn with one basis can be compared.

    Attributes:
        axes: rows of length 1; of zeros where the rows have no such direction.
        kept: share of the variance each axis kept on the rows it was fitted to, of several steps within each.
        steps: of the snapshots it was fitted to.
    """

    mean: Float[np.ndarray, "feature"]
    axes: Float[np.ndarray, "2 feature"]
    kept: tuple[float, float]
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        mean = as_numbers("mean", self.mean)
        for array in (mean, as_numbers("axes", self.axes, (2, len(mean)))):
            if not np.isfinite(array).all():
                raise InputError("mean and axes of a basis must be finite.")


@space_was_of
@checked
def fit_basis(snapshots: Snapshot | Sequence[Snapshot], space: str = "common") -> Basis:
    """The two principal axes of all nets' rows: those that show most of every snapshot's own variance.

    Every snapshot counts from its own mean. Counted from a common one, the way that all nets go together from step to
    step takes up an axis: over 200 steps of the digits the plane then kept 36 % of the last step's variance, not 53 %.
    Signs are fixed (the largest entry of an axis is positive), so that axes do not flip between runs.

    Raises InputError for no snapshot, arrays that are not there, or different widths.
    """
    several = [snapshots] if isinstance(snapshots, Snapshot) else list(snapshots)
    if not several:
        raise InputError("fit_basis got no snapshot: expected at least one.")
    steps = [list(rows_of(snapshot, space).values()) for snapshot in several]
    widths = {parts[0].shape[1] for parts in steps}
    if len(widths) > 1:
        raise InputError(f"{space} has different widths {sorted(widths)} at different steps: expected one.")
    return replace(principal_axes(steps), steps=tuple(snapshot.step for snapshot in several))


def principal_axes(steps: Sequence[Sequence[Float[np.ndarray, "_ feature"]]]) -> Basis:
    """Of the rows of all nets of all steps, by the smaller of covariance and Gram matrix; no copy of all rows."""
    counts = [sum(len(part) for part in parts) for parts in steps]
    count, width = sum(counts), steps[0][0].shape[1]
    sums = [np.sum([part.sum(axis=0, dtype=np.float64) for part in parts], axis=0) for parts in steps]
    means = [total / max(n, 1) for total, n in zip(sums, counts, strict=True)]
    centred = (chunk - mean for parts, mean in zip(steps, means, strict=True) for chunk in chunks(parts))
    if count <= width:
        rows = np.concatenate(list(centred)) if count else np.zeros((0, width))
        values, vectors = np.linalg.eigh(rows @ rows.T)
        vectors = rows.T @ vectors
        vectors /= np.maximum(np.linalg.norm(vectors, axis=0), 1e-150)
        total = float((rows**2).sum())
    else:
        covariance = np.zeros((width, width))
        for chunk in centred:
            covariance += chunk.T @ chunk
        values, vectors = np.linalg.eigh(covariance)
        total = float(np.trace(covariance))
    strongest, axes, kept = np.maximum(values[::-1][:2], 0.0), np.zeros((2, width)), np.zeros(2)
    real = strongest > 1e-12 * max(total, 1e-18)
    axes[: len(real)][real] = vectors.T[::-1][:2][real]
    axes *= np.where(axes[np.arange(2), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    kept[: len(real)][real] = strongest[real] / max(total, 1e-30)
    return Basis(np.sum(sums, axis=0) / max(count, 1), axes, (float(kept[0]), float(kept[1])))


def project(parts: Sequence[Float[np.ndarray, "_ feature"]], basis: Basis) -> tuple[Plane, float]:
    """The rows on the basis' axes, and the share of their own variance that is seen there; NaN where they have none."""
    count = sum(len(part) for part in parts)
    xy, total, squares, done = np.empty((count, 2)), np.zeros(len(basis.mean)), 0.0, 0
    for chunk in chunks(parts):
        moved = chunk - basis.mean
        xy[done : done + len(moved)] = moved @ basis.axes.T
        total += moved.sum(axis=0)
        squares += float((moved**2).sum())
        done += len(moved)
    variance = squares - float((total**2).sum()) / max(count, 1)
    seen = float(((xy - xy.mean(axis=0)) ** 2).sum()) if count else 0.0
    return xy, min(seen / variance, 1.0) if variance > 1e-12 * max(squares, 1e-30) else float("nan")


def chunks(parts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """All rows in float64, a bounded number at a time."""
    return (part[start : start + CHUNK].astype(np.float64) for part in parts for start in range(0, len(part), CHUNK))


@probe("common/*")
def pca(snapshot: Snapshot, basis: Basis | None = None, space: str = "common", *, quality: bool = False) -> Points:
    """Student and teachers in the common space, on two principal axes.

    Args:
        basis: to draw several steps alike; by default fitted to this snapshot.
        space: which arrays, one of `spaces`; all must be of one width.
        quality: also say how many neighbours are real; this takes longer than the picture.

    Raises InputError when they are of different widths, or the basis is of another width.
    """
    return dress([flat(rows_together(snapshot, space), basis, quality=quality)], [snapshot], space)[0]


def flat(rows: Rows, basis: Basis | None = None, *, quality: bool = False, before: str = "") -> Points:
    """The picture of PCA, without title and labels."""
    parts = rows.parts
    basis = basis or principal_axes([parts])
    if basis.mean.shape[0] != rows.values.shape[1]:
        widths = f"this basis is of width {basis.mean.shape[0]}, the rows of {rows.values.shape[1]}"
        raise InputError(f"{widths}: fit one to these rows.")
    xy, kept = project(parts, basis)
    words = "all rows are the same: nothing to see" if np.isnan(kept) else f"keeps {kept:.0%} of the variance"
    if basis.steps:
        first, last = min(basis.steps), max(basis.steps)
        words += f"; axes of step {first}" if first == last else f"; axes of steps {first} to {last}"
    found: dict[str, float] = {} if np.isnan(kept) else {"variance kept": kept}
    if quality:
        more, judged = judge(rows.values, xy)
        found, words = found | more, f"{words}; {judged}"
    axes = ("1st principal axis (no unit)", "2nd principal axis (no unit)")
    return rows.drawn(xy, quality=found, axes=axes, note=before + words)


def dress(film: Sequence[Points], snapshots: Sequence[Snapshot], space: str) -> list[Points]:
    """Bare pictures with their titles and the classes of their points."""
    dressed = []
    for points, snapshot in zip(film, snapshots, strict=True):
        label, labels = class_labels(snapshot)
        label = None if label is None else label[points.sample]
        dressed.append(replace(points, label=label, labels=labels, title=name_of(space), step=snapshot.step))
    return dressed
