"""How aligned student and teachers are, image by image and class by class: an MMD sees clouds, pairs see images.

All of it is of the very points that pictures of a space draw: means over space, rows of length 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int64

from ka_explore.errors import InputError, check_between
from ka_explore.probes.classes import classes_said, one_task, task_of
from ka_explore.probes.probe import probe
from ka_explore.probes.quality import nearest
from ka_explore.probes.results import Scalars
from ka_explore.probes.samples import average, evenly, finite, left_out, squared_distances
from ka_explore.probes.similarity import MOST, unit_rows
from ka_explore.probes.spaces import name_of
from ka_explore.probes.spectrum import ROUNDING
from ka_explore.run.snapshot import Snapshot

CHANCE = "by chance"

Rows = Float[np.ndarray, "image feature"]
Kinds = Int64[np.ndarray, "image"]
PerImage = Float[np.ndarray, "image"]
ByCount = dict[int, PerImage]
"""By number of neighbours: what was found of each image."""


@probe("common/*")
def pairs_found(
    snapshot: Snapshot, space: str = "common", neighbours: Sequence[int] = (1, 5), most: int = 1000
) -> Scalars:
    """Share of images whose nearest point of a teacher, seen from the student's point, is the same image's.

    Also whether it is among the 5 nearest: ``<teacher> at 1``, ``<teacher> at 5``; of a single number of neighbours
    under the teacher's name alone. Every image has a point of every teacher, whether that one knows its class or not.
    Equally near points count in equal parts, so that a space that has collapsed to a point gives chance: k/N for the k
    nearest among N images.

    Args:
        space: which arrays, see `ka_explore.probes.embedding.spaces`; of ``feature``, the nets' last layers, only where
            these are of one width.
        neighbours: among how many nearest points the image's own is looked for.
        most: images at most, evenly over the snapshot, since all pairs are compared; up to 4 096. Among fewer images
            more are found by chance.

    Raises InputError when the stage emits none, they are of different widths or without a student, or a number is out
    of range.
    """
    counts = asked(neighbours, most)
    student, teachers, images, note = compared(snapshot, space, most)
    count, own = len(images), np.arange(len(images))
    found = {net: of_own_kind(student, theirs, own, counts) for net, theirs in teachers.items()}
    levels = {named(CHANCE, k, counts): min(k / count, 1.0) if count else np.nan for k in counts}
    return means(found, f"pairs found, {name_of(space)} (share of {told(images, snapshot)})", note, levels)


@probe("common/*", labels="used")
def class_neighbours(
    snapshot: Snapshot, space: str = "common", neighbours: Sequence[int] = (1, 5), most: int = 1000
) -> Scalars:
    """Share of a teacher's points nearest to the student's point of an image that are of the image's class.

    Of the nearest point, which may be the image's own (so it is never less than `pairs_found`), and of the 5 nearest.
    The class is the true one where any is known of the teacher's task; else what the teacher itself answers, among its
    own classes, to every image, and the note says so. All images of a known class count, also where the teacher does
    not know that class: the student's points are to lie upon its points there too. Chance is Σ p², p the share of each
    class. Names, arguments, equals and errors as of `pairs_found`.
    """
    counts = asked(neighbours, most)
    student, teachers, images, note = compared(snapshot, space, most)
    found, chance, classes = dict[str, ByCount](), dict[str, float](), dict[str, str]()
    for net, theirs in teachers.items():
        kind, classes[net] = classes_of(snapshot, net)
        known = kind[images] >= 0
        kind, count = kind[images][known], max(int(known.sum()), 1)
        same = of_own_kind(student[known], theirs[known], kind, counts)
        found[net] = {k: parts / min(k, count) for k, parts in same.items()}
        chance[net] = float(((np.bincount(kind) / count) ** 2).sum()) if known.any() else np.nan
        if not known.all():
            classes[net] += f", unknown of {(~known).sum()}"
    levels = {f"{net} {CHANCE}": share for net, share in chance.items()}
    if len(set(chance.values())) == 1:
        levels = {CHANCE: next(iter(chance.values()))}
    alike = len(set(classes.values())) == 1
    words = next(iter(classes.values())) if alike else "; ".join(f"{net}: {said}" for net, said in classes.items())
    title = f"class neighbours, {name_of(space)} (share of the nearest points, {told(images, snapshot)})"
    return means(found, title, f"{words} ({note})" if note else words, levels)


@probe("common/*")
def gap(snapshot: Snapshot, space: str = "common") -> Scalars:
    """How far the mean of the student's points is from the mean of a teacher's, in spreads of the two clouds.

    ‖m − m'‖ / √((v + v')/2), with v the mean squared distance of a net's points from their mean m (over N − 1). 0 where
    the means are one, √(2/N) by chance for two samples of one cloud; NaN where there is no spread. The standard error
    is that of the jackknife (Quenouille 1956). Whose point is of which image does not matter. Argument and errors as
    of `pairs_found`.
    """
    student, teachers, images, note = compared(snapshot, space, len(snapshot.index))
    count = len(images)
    values, errors = {}, {}
    for net, theirs in teachers.items():
        values[net] = float(gaps(student, theirs, left=0)[0]) if count > 1 else np.nan
        without = gaps(student, theirs, left=1) if count > 2 else np.full(1, np.nan)
        errors[net] = float(np.sqrt((count - 1) * without.var()))
    title = f"gap between student and teacher, {name_of(space)} (of {told(images, snapshot)})"
    levels = {CHANCE: float(np.sqrt(2 / count)) if count else np.nan}
    return Scalars(values, "spreads", title, note, errors, levels)


def compared(snapshot: Snapshot, space: str, most: int) -> tuple[Rows, dict[str, Rows], Kinds, str]:
    """The student's points, each teacher's, of which images of the snapshot they are, and what was left out, in words.

    A net without any finite row has points of NaN.
    """
    rows, kept = unit_rows(snapshot, space)
    if len(rows) < 2:
        raise InputError(f"{space} holds the student alone: expected at least one other net.")
    images = np.array(evenly(np.flatnonzero(kept).tolist(), most), np.int64)
    among = np.searchsorted(np.flatnonzero(kept), images)
    missing = np.full((len(images), rows["student"].shape[1]), np.nan)
    points = {net: array[among] if len(array) else missing for net, array in rows.items()}
    return points.pop("student"), points, images, left_out(kept)


def asked(neighbours: Sequence[int], most: int) -> tuple[int, ...]:
    """The numbers of neighbours, each once. Raises InputError for none, or a number out of range."""
    if not neighbours:
        raise InputError("neighbours=(): expected at least one number of nearest points.")
    for k in neighbours:
        check_between("neighbours", k, 1, MOST)
    check_between("most", most, 1, MOST)
    return tuple(dict.fromkeys(neighbours))


def of_own_kind(student: Rows, theirs: Rows, kind: Kinds, counts: Sequence[int]) -> ByCount:
    """How many of the k nearest points of another net are of the kind of the image that the student's point is of.

    Points that are equally near share the places that are left in equal parts. NaN for rows that are not finite.
    """
    if not (len(student) and np.isfinite(student).all() and np.isfinite(theirs).all()):
        return {k: np.full(len(student), np.nan) for k in counts}
    centre = (student.mean(axis=0) + theirs.mean(axis=0)) / 2  # the smaller the rows, the smaller what is rounded
    squared, same = squared_distances(student - centre, theirs - centre), kind[:, None] == kind
    parts = {k: (nearest(squared, min(k, len(kind))) * same).sum(axis=1) for k in counts}
    return {k: each.round(12) for k, each in parts.items()}  # equal parts that make up a whole


def classes_of(snapshot: Snapshot, net: str) -> tuple[Kinds, str]:
    """The class of every image of a snapshot to hold a net against, -1 where unknown, and what these classes are."""
    task = task_of(snapshot, net) if net in snapshot.knows else one_task(snapshot, None)
    true = (snapshot.labels or {}).get(task)
    if true is not None and (true >= 0).any():
        return true, "class: the true one"
    if net not in snapshot.knows:  # a code of all teachers
        return classes_said(snapshot, task), "class: what the teachers answer (no labels)"
    logits = snapshot.arrays[f"logits/{net}"]
    return np.where(finite(logits), logits.argmax(axis=1), -1), "class: what the teacher answers (no labels)"


def gaps(student: Rows, theirs: Rows, *, left: int) -> PerImage:
    """The gap of two clouds, once an image: of all of them (``left=0``), or without that one (``left=1``)."""
    count, means, variances = len(student) - left, [], []
    for rows in (student, theirs):
        mean = rows.mean(axis=0)
        squares = ((rows - mean) ** 2).sum(axis=1)
        means.append(mean - left * (rows - mean) / count)
        variances.append((squares.sum() - left * squares * (count + left) / count) / (count - 1))
    spread = np.sqrt(np.mean(variances, axis=0))
    distance = np.linalg.norm(means[0] - means[1], axis=-1)
    return np.asarray(distance / np.where(spread > ROUNDING, spread, np.nan))


def means(found: Mapping[str, ByCount], title: str, note: str, levels: Mapping[str, float]) -> Scalars:
    """Means over images with their standard errors, first of all nets at the first number of neighbours."""
    counts = tuple(next(iter(found.values())))
    lines = {named(net, k, counts): found[net][k] for k in counts for net in found}
    values = {name: average(parts) for name, parts in lines.items()}
    errors = {name: float(p.std(ddof=1) / np.sqrt(len(p))) if len(p) > 1 else np.nan for name, p in lines.items()}
    return Scalars(values, "", title, note, errors, levels)


def named(name: str, k: int, counts: Sequence[int]) -> str:
    """What a number is called: with how many neighbours it is of, where there are several."""
    return name if len(counts) == 1 else f"{name} at {k}"


def told(images: Kinds, snapshot: Snapshot) -> str:
    """Which images a number is of."""
    every = f"the probe set's {len(snapshot.index)} images"
    return every if len(images) == len(snapshot.index) else f"{len(images)} of {every}"
