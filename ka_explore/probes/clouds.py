"""Clouds: the rows of all nets at one step of a run; planes through them, and what is seen there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from ka_explore.errors import InputError, check_known, checked
from ka_explore.probes.results import as_numbers
from ka_explore.probes.spaces import CHUNK, Plane

MUCH_LESS = 2 / 3  # of what there is: what a plane shows less of is said in words
APART = 0.05  # variance between nets over that within: of three nets one that is half a spread from the others

Kind = Literal["pca", "class_axes"]
KINDS: tuple[str, ...] = get_args(Kind)
"""The linear views: the two axes that show most, and those that separate the teachers' own answers best."""

Part = Float[np.ndarray, "sample feature"]


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
