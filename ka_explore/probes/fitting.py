"""The axes of linear views, and where points lie on them: one fitter for every picture, film, report and panel."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int64

from ka_explore.errors import InputError, check_known, checked
from ka_explore.probes.probe import space_was_of
from ka_explore.probes.results import as_numbers
from ka_explore.probes.samples import finite
from ka_explore.probes.spaces import CHUNK, Plane, rows_of
from ka_explore.run.snapshot import Snapshot

MUCH_LESS = 2 / 3  # of what there is: what a plane shows less of is said in words
APART = 0.05  # variance between nets over that within: of three nets one that is half a spread from the others
SHRINKAGE = 0.1  # of the covariance within classes towards the same in all directions (few rows, dead channels)

Kind = Literal["pca", "class_axes"]
KINDS: tuple[str, ...] = get_args(Kind)
"""The linear views: the two axes that show most, and those that separate the teachers' own answers best."""

Part = Float[np.ndarray, "sample feature"]
Answers = list[Int64[np.ndarray, "sample"] | None]


@checked
@dataclass(frozen=True)
class Basis:
    """A fixed linear view: pictures drawn with one basis can be compared.

    Attributes:
        axes: rows of length 1; of zeros where the rows have no such direction.
        kept: share of its own variance that a snapshot keeps on each axis, in the mean over what it was fitted to.
        steps: of the snapshots it was fitted to.
        kind: what the axes show.
        runs: how many runs it was fitted to.
    """

    mean: Float[np.ndarray, "feature"]
    axes: Float[np.ndarray, "2 feature"]
    kept: tuple[float, float]
    steps: tuple[int, ...] = ()
    kind: Kind = "pca"
    runs: int = 1

    def __post_init__(self) -> None:
        mean = as_numbers("mean", self.mean)
        for array in (mean, as_numbers("axes", self.axes, (2, len(mean)))):
            if not np.isfinite(array).all():
                raise InputError("mean and axes of a basis must be finite.")
        check_known("kind", self.kind, KINDS)


@dataclass(frozen=True)
class Cloud:
    """The rows of all nets at one step of a run.

    Attributes:
        parts: the rows, by net.
        weight: how much it counts; the weights of all clouds add up to 1.
        mean: of all rows.
        offsets: of each net's mean from it, times the root of the net's share of the rows: the squares add up to the
            variance between nets.
        variance: mean squared distance of the rows from their mean; 0 where that is but rounding.
    """

    parts: Sequence[Part]
    weight: float
    mean: Float[np.ndarray, "feature"]
    offsets: Float[np.ndarray, "net feature"]
    variance: float

    @property
    def factor(self) -> float:
        """What lengths are multiplied by, so that a cloud counts by the shares of its variance and not by its size."""
        return float(np.sqrt(self.weight / self.variance)) if self.variance else 0.0

    @property
    def rows(self) -> Iterator[Part]:
        """All rows about their mean, a bounded number at a time; the squares add up to the weight."""
        factor = self.factor / np.sqrt(max(sum(map(len, self.parts)), 1))
        return ((chunk - self.mean) * factor for chunk in chunks(self.parts))


@space_was_of
@checked
def fit_basis(
    snapshots: Snapshot | Sequence[Snapshot] | Sequence[Sequence[Snapshot]], space: str = "common", kind: Kind = "pca"
) -> Basis:
    """The two axes that one figure of these snapshots is drawn on: of one, of several, or of several runs' each.

    Every run counts alike, however many snapshots it has, every snapshot of a run alike, and each by the shares of its
    own variance, from its own mean. So what the nets differ by is in it, and what one run shows; the way that all nets
    go together from step to step, and how large a cloud is, are not. The order of runs plays no part. Signs are fixed:
    the largest entry of an axis is positive.

    Args:
        space: one of `ka_explore.probes.embedding.spaces`.
        kind: ``pca``, the axes on which the snapshots keep most in the mean, as `principal_axes` says; or
            ``class_axes``, those that separate the teachers' own answers best, as `discriminant_axes` says.

    Raises InputError for no snapshot, arrays that are not there, different widths, or no teachers in ``class_axes``.
    """
    runs = runs_of(snapshots)
    if not runs or not all(runs):
        raise InputError("fit_basis got no snapshot: expected at least one, of every run.")
    every = [(snapshot, 1 / len(runs) / len(run)) for run in runs for snapshot in run]
    rows = [rows_of(snapshot, space) for snapshot, _ in every]
    widths = {next(iter(nets.values())).shape[1] for nets in rows}
    if len(widths) > 1:
        raise InputError(f"{space} has different widths {sorted(widths)} at different steps: expected one.")
    clouds = [cloud_of(list(nets.values()), weight) for nets, (_, weight) in zip(rows, every, strict=True)]
    if kind == "pca":
        basis = principal_axes(clouds)
    else:
        answers = [said_by(snapshot, nets) for nets, (snapshot, _) in zip(rows, every, strict=True)]
        basis = discriminant_axes(clouds, answers)
    return replace(basis, steps=tuple(sorted({snapshot.step for snapshot, _ in every})), runs=len(runs))


def runs_of(snapshots: Snapshot | Sequence[Snapshot] | Sequence[Sequence[Snapshot]]) -> list[list[Snapshot]]:
    """The snapshots by run; those that are not told apart are of one."""
    if isinstance(snapshots, Snapshot):
        return [[snapshots]]
    loose = [one for one in snapshots if isinstance(one, Snapshot)]
    return [*([loose] if loose else []), *(list(run) for run in snapshots if not isinstance(run, Snapshot))]


def cloud_of(parts: Sequence[Part], weight: float = 1.0) -> Cloud:
    """The rows of all nets, by net, with their means and variance."""
    counts = np.array([len(part) for part in parts])
    total = max(int(counts.sum()), 1)
    means = np.stack([part.mean(axis=0, dtype=np.float64) if len(part) else np.zeros(part.shape[1]) for part in parts])
    mean = counts @ means / total
    squares = sum(float((chunk**2).sum()) for chunk in chunks(parts))
    variance = sum(float(((chunk - mean) ** 2).sum()) for chunk in chunks(parts)) / total
    offsets = np.sqrt(counts / total)[:, None] * (means - mean)
    return Cloud(parts, weight, mean, offsets, variance if variance * total > 1e-12 * max(squares, 1e-30) else 0.0)


def principal_axes(clouds: Sequence[Cloud]) -> Basis:
    """The two axes on which clouds keep most.

    Where that plane hides that nets lie apart, the second axis is the one along which the nets' means differ most, if
    fewer clouds are hidden so.
    """
    clouds = sorted(clouds, key=place_of)
    axes = strongest(clouds)
    basis = spanned(clouds, axes)
    if hidden := hiding(clouds, basis):
        differences = np.concatenate([cloud.factor * cloud.offsets for cloud in clouds])
        differences -= np.outer(differences @ axes[0], axes[0])
        apart = spanned(clouds, np.stack([axes[0], np.linalg.svd(differences, full_matrices=False)[2][0]]))
        basis = apart if hiding(clouds, apart) < hidden else basis
    return basis


def discriminant_axes(clouds: Sequence[Cloud], answers: Sequence[Answers]) -> Basis:
    """The two axes that separate the classes which each teacher names itself best; no label is looked at.

    Linear discriminant analysis (Fisher 1936), as scikit-learn computes it, of the teachers' rows about their clouds'
    means. The directions are made orthogonal and of length 1, so that distances are those of the space. Where there
    are not enough classes for two directions, the strongest principal axes of what they leave stand in.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    pairs = sorted(zip(clouds, answers, strict=True), key=lambda pair: place_of(pair[0]))
    width = len(clouds[0].mean)
    rows, said = [np.zeros((0, width))], [np.zeros(0, np.int64)]
    for cloud, answer in pairs:
        for part, named in zip(cloud.parts, answer, strict=True):
            if named is not None and cloud.variance:
                rows.append(part[named >= 0] - cloud.mean)
                said.append(named[named >= 0])
    values, classes = np.concatenate(rows), np.concatenate(said)
    names, counts = np.unique(classes, return_counts=True)
    names = names[counts > 1]  # one row alone has no covariance
    several, directions = np.isin(classes, names), min(2, len(names) - 1)
    found = np.zeros((0, width))
    if directions > 0 and any(np.ptp(values[classes == name], axis=0).any() for name in names):
        model = LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE).fit(values[several], classes[several])
        found = np.linalg.qr(model.scalings_[:, :directions])[0].T
    ordered = [cloud for cloud, _ in pairs]
    axes = found if len(found) == 2 else np.concatenate([found, strongest(ordered, without=found)])[:2]
    return replace(spanned(ordered, axes), kind="class_axes")


def said_by(snapshot: Snapshot, nets: Iterable[str]) -> Answers:
    """The class that each net names of every image, as its column, -1 where that is not finite; None of no teacher.

    Raises InputError where no net is a teacher with answers.
    """
    found: Answers = []
    for net in nets:
        logits = snapshot.arrays.get(f"logits/{net}") if net in snapshot.knows else None
        if logits is None:
            found.append(None)
            continue
        columns = np.array(snapshot.knows[net], np.int64)
        found.append(np.where(finite(logits), columns[logits.argmax(axis=1)], -1))
    if all(answers is None for answers in found):
        there = ", ".join(nets)
        raise InputError(f"class axes are those of the teachers' answers: here are {there}. Draw this with pca.")
    return found


def place_of(cloud: Cloud) -> tuple[object, ...]:
    """A cloud's place among others: sums in one order are the same bits, in whatever order the runs are given."""
    return cloud.variance, cloud.weight, cloud.mean.tolist()


def strongest(clouds: Sequence[Cloud], without: Part | None = None) -> Float[np.ndarray, "2 feature"]:
    """The two directions of most variance, by the smaller of covariance and Gram matrix; zeros where there is none.

    They are at right angles to those that they are to be ``without``, rows of length 1.
    """
    count, width = sum(len(part) for cloud in clouds for part in cloud.parts), len(clouds[0].mean)
    every = (chunk for cloud in clouds for chunk in cloud.rows)
    if without is not None:
        every = (chunk - chunk @ without.T @ without for chunk in every)
    if count <= width:
        rows = np.concatenate([np.zeros((0, width)), *every])
        values, vectors = np.linalg.eigh(rows @ rows.T)
        vectors = rows.T @ vectors
        vectors /= np.maximum(np.linalg.norm(vectors, axis=0), 1e-150)
    else:
        covariance = np.zeros((width, width))
        for chunk in every:
            covariance += chunk.T @ chunk
        values, vectors = np.linalg.eigh(covariance)
    axes, real = np.zeros((2, width)), values[::-1][:2] > 1e-12
    axes[: len(real)][real] = vectors.T[::-1][:2][real]
    return axes


def spanned(clouds: Sequence[Cloud], axes: Float[np.ndarray, "2 feature"]) -> Basis:
    """The plane of two axes through the clouds' mean, signs fixed, and what the clouds keep on it."""
    axes = axes * np.where(axes[np.arange(2), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    kept = sum((((chunk @ axes.T) ** 2).sum(axis=0) for cloud in clouds for chunk in cloud.rows), np.zeros(2))
    mean = np.sum([cloud.weight * cloud.mean for cloud in clouds], axis=0)
    return Basis(mean, axes, (float(kept[0]), float(kept[1])))


def project(parts: Sequence[Part], basis: Basis) -> tuple[Plane, float]:
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


def hides(cloud: Cloud, xy: Plane) -> bool:
    """Whether nets that lie clearly apart are drawn less than `MUCH_LESS` as far apart, measured by their own spread.

    Clearly: the variance between nets is more than `APART` of that within, and more than chance makes of few rows.
    """
    counts = [len(part) for part in cloud.parts]
    drawn = cloud_of(np.split(xy, np.cumsum(counts)[:-1]))
    between, seen = (float((of.offsets**2).sum()) for of in (cloud, drawn))
    within, seen_within = cloud.variance - between, drawn.variance - seen
    clearly = between > (APART + 2 / max(min(counts), 1)) * within
    return clearly and seen * within < MUCH_LESS**2 * between * seen_within


def hiding(clouds: Sequence[Cloud], basis: Basis) -> float:
    """The weight of the clouds of which a plane hides that nets lie apart."""
    return sum(cloud.weight for cloud in clouds if hides(cloud, project(cloud.parts, basis)[0]))


def chunks(parts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """All rows in float64, a bounded number at a time."""
    return (part[start : start + CHUNK].astype(np.float64) for part in parts for start in range(0, len(part), CHUNK))
