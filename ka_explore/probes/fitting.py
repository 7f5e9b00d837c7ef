"""The axes of linear views: one fitter for every picture, film, report and panel."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int64

from ka_explore.errors import InputError, checked
from ka_explore.probes.clouds import Basis, Cloud, Kind, cloud_of, hiding, place_of, spanned, strongest
from ka_explore.probes.probe import space_was_of
from ka_explore.probes.samples import finite
from ka_explore.probes.spaces import rows_of
from ka_explore.run.snapshot import Snapshot

SHRINKAGE = 0.1  # of the variance between and within classes towards the same in all directions

Square = Float[np.ndarray, "feature feature"]
Answers = list[Int64[np.ndarray, "sample"] | None]
"""The class that a net names of every image, -1 where it names none; None of a net that is no teacher. By net."""


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
    shown = [(snapshot, tuple(nets), cloud) for (snapshot, _), nets, cloud in zip(every, rows, clouds, strict=True)]
    return replace(axes_of(shown, kind), steps=tuple(sorted({snapshot.step for snapshot, _ in every})), runs=len(runs))


def axes_of(shown: Sequence[tuple[Snapshot, Sequence[str], Cloud]], kind: Kind) -> Basis:
    """The axes of a kind of some snapshots, each with the nets that are shown of it and their rows."""
    clouds = [cloud for *_, cloud in shown]
    if kind == "pca":
        return principal_axes(clouds)
    return discriminant_axes(clouds, [said_by(snapshot, nets) for snapshot, nets, _ in shown])


def runs_of(snapshots: Snapshot | Sequence[Snapshot] | Sequence[Sequence[Snapshot]]) -> list[list[Snapshot]]:
    """The snapshots by run; those that are not told apart are of one."""
    if isinstance(snapshots, Snapshot):
        return [[snapshots]]
    loose = [one for one in snapshots if isinstance(one, Snapshot)]
    return [*([loose] if loose else []), *(list(run) for run in snapshots if not isinstance(run, Snapshot))]


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

    Linear discriminant analysis (Fisher 1936) of the teachers' rows, each about its teacher's mean, as what two
    teachers differ by separates no classes: the directions in which the variance between classes is largest, measured
    by that within them, both shrunk by `SHRINKAGE`. Of one cloud they are those of scikit-learn's
    ``LinearDiscriminantAnalysis(solver="eigen")``; of several the variances are added up as those of `principal_axes`
    are. They are made orthogonal and of length 1, so that distances are those of the space. Where the classes are too
    few for two directions, the strongest of what they leave stand in.
    """
    pairs = sorted(zip(clouds, answers, strict=True), key=lambda pair: place_of(pair[0]))
    among, inside, classes = zip(*(scatter(cloud, answer) for cloud, answer in pairs), strict=True)
    between, within = np.sum(among, axis=0), np.sum(inside, axis=0)
    found = np.zeros((0, len(between)))
    if np.trace(within) > 1e-12:
        whiten = np.linalg.inv(np.linalg.cholesky(shrunk(within)))
        directions = whiten.T @ np.linalg.eigh(whiten @ shrunk(between) @ whiten.T)[1][:, ::-1]
        found = np.linalg.qr(directions[:, : min(2, max(classes) - 1)])[0].T
    ordered = [cloud for cloud, _ in pairs]
    axes = found if len(found) == 2 else np.concatenate([found, strongest(ordered, without=found)])[:2]
    return replace(spanned(ordered, axes), kind="class_axes")


def scatter(cloud: Cloud, answers: Answers) -> tuple[Square, Square, int]:
    """The teachers' covariance between classes and within them, as shares of a cloud; and the number of classes."""
    parts, said = [np.zeros((0, len(cloud.mean)))], [np.zeros(0, np.int64)]
    for part, named in zip(cloud.parts, answers, strict=True):
        if named is not None and (known := named >= 0).any():
            own = part[known].astype(np.float64)
            parts.append(cloud.factor * (own - own.mean(axis=0)))
            said.append(named[known])
    rows = np.concatenate(parts)
    names, place, counts = np.unique(np.concatenate(said), return_inverse=True, return_counts=True)
    means = np.zeros((len(names), rows.shape[1]))
    np.add.at(means, place, rows)
    means /= counts[:, None]
    left, count = rows - means[place], max(len(rows), 1)
    return (counts / count * means.T) @ means, left.T @ left / count, len(names)


def shrunk(covariance: Square) -> Square:
    """A covariance, a part of it made the same in all directions: few rows and dead channels leave some out."""
    same = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return (1 - SHRINKAGE) * covariance + SHRINKAGE * same


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
