"""What the points of a picture are coloured by, and which of them are joined."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
from jaxtyping import Int64

from ka_explore.errors import InputError, brief, check_between, checked, unknown
from ka_explore.probes.agreement import answers
from ka_explore.probes.classes import task_of, tasks_of
from ka_explore.probes.probe import space_was_of
from ka_explore.probes.results import Points, Scalars
from ka_explore.probes.selection import shares
from ka_explore.probes.spaces import class_labels, name_of, rows_of
from ka_explore.run.snapshot import Snapshot

COLOURS = ("class", "net", "teacher", "error", "agreement")


@checked
def colour(points: Points, snapshot: Snapshot, by: str = "class", task: str | None = None) -> Points:
    """The same picture, its points coloured by something else.

    Args:
        points: a picture of this snapshot.
        snapshot: where the colours come from.
        by: ``class`` (the true one), ``net``, ``teacher`` (who claims the image, or teaches it most where the stage
            selects), ``error`` (the reconstruction error: a teacher's own, the mean of all for the student) or
            ``agreement`` (whether the student's answer within a teacher's classes is the teacher's; a student's point
            is compared with the teacher that claims its image).
        task: for ``class`` and ``teacher`` of several tasks; by default the first, or the first that teachers share.

    Raises InputError for an unknown name, and when the snapshot has not what is needed.
    """
    if by not in COLOURS:
        raise unknown("colour", by, COLOURS)
    if task is not None and task not in tasks_of(snapshot):
        raise unknown("task", task, tasks_of(snapshot))
    if int(points.sample.max(initial=0)) >= max(len(snapshot.index), 1):
        raise InputError(f"this picture is of another snapshot: this one has {len(snapshot.index)} samples.")
    plain = replace(points, label=None, labels=(), legend="class", value=None, unit="")
    if by == "class":
        label, labels = class_labels(snapshot, task)
        if label is None:
            what = "no true labels" if task is None else f"no true labels of task {task!r}"
            raise InputError(f"this snapshot has {what}: colour by net, teacher, error or agreement instead.")
        return replace(plain, label=label[points.sample], labels=labels, legend=task or "class")
    if by == "teacher":
        label = claimed(snapshot, task)[points.sample]
        return replace(plain, label=label, labels=snapshot.teachers, legend="claimed by")
    if by == "error":
        unit = "reconstruction error (share of the feature's variance)"
        return replace(plain, value=by_net(points, *errors_of(snapshot)), unit=unit)
    if by == "agreement":
        label = by_net(points, *differences_of(snapshot, task))
        return replace(plain, label=label, labels=("agrees", "differs"), legend="student and teacher")
    return plain


def by_net(points: Points, own: Mapping[str, np.ndarray], other: np.ndarray) -> np.ndarray:
    """(point,): what a net has of its own a sample, or what all others have."""
    return np.stack([own.get(net, other) for net in points.groups])[points.group, points.sample]


def errors_of(snapshot: Snapshot) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The reconstruction error of every image, by teacher, and the mean of those that are finite."""
    errors = {net: np.asarray(error, np.float64) for net, error in snapshot.group("error").items()}
    table = np.stack(list(errors.values()))
    known = np.isfinite(table)
    return errors, np.where(known, table, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def differences_of(snapshot: Snapshot, task: str | None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Whether the student says otherwise than each teacher, and than the one that claims the image; -1 if unknown."""
    found = {teacher: answers(snapshot, teacher) for teacher in snapshot.teachers}
    differs = {teacher: np.where(known, said != answer, -1) for teacher, (said, answer, known) in found.items()}
    claim = claimed(snapshot, task)
    table = np.stack(list(differs.values()))
    return differs, np.where(claim >= 0, table[np.maximum(claim, 0), np.arange(len(claim))], -1)


def claimed(snapshot: Snapshot, task: str | None = None) -> Int64[np.ndarray, "sample"]:
    """Which teacher, by place, has each image: −1 where that cannot be said.

    By the weight that the stage's selection gave, where it selects among this task's teachers; elsewhere by the share
    of the task's joint softmax in a teacher's columns. By default of the task of the selection, or the first that
    several teachers share.
    """
    teachers = snapshot.teachers
    tasks = {t: task_of(snapshot, t) for t in teachers}
    mine = [t for t in teachers if f"weight/{t}" in snapshot.arrays and task in (None, tasks[t])]
    weights = {t: snapshot.arrays[f"weight/{t}"] for t in mine}
    if not weights:
        shared = [name for name, count in Counter(tasks.values()).items() if count > 1]
        wanted = task or next(iter(shared or tasks.values()))
        asked = {t: snapshot.arrays[f"logits/{t}"] for t in teachers if tasks[t] == wanted}
        if not asked:
            raise InputError(f"no teacher has task {wanted!r}: nobody claims its images.")
        weights = dict(zip(asked, shares(snapshot, asked).T, strict=True))
    indices = np.array([teachers.index(t) for t in weights])
    values = np.stack([np.asarray(a, np.float64) for a in weights.values()], axis=1)
    known = np.isfinite(values).all(axis=1)
    return np.where(known, indices[np.nan_to_num(values).argmax(axis=1)], -1)


@checked
def join_pairs(points: Points, images: Annotated[int | float, "looked at below"] = 1.0, *, seed: int = 0) -> Points:
    """Lines from the student's point of an image to the teachers' points of the same image.

    Args:
        points: a picture with a student in it.
        images: how many: all, a share (a float up to 1), or a number (an int); a part is drawn by chance so that every
            label is there in its proportion, and the note says so.
        seed: of that chance.

    Raises InputError without a student, or for a number that is no number of images.
    """
    if "student" not in points.groups:
        raise InputError(f"no student in this picture of {', '.join(points.groups)}: its points cannot be joined.")
    whole = isinstance(images, (int, np.integer)) and not isinstance(images, bool)
    if not (whole and images >= 1) and not (isinstance(images, float) and 0 < images <= 1):
        raise InputError(f"images={brief(images)}: expected a share above 0 and up to 1.0, or a whole number from 1.")
    check_between("seed", seed, 0, math.inf)
    own = np.flatnonzero(points.group == points.groups.index("student"))
    count = min(int(images), len(own)) if whole else max(1, round(images * len(own)))
    picked, note = own, points.note
    if count < len(own):
        label = np.zeros(len(own), np.int64) if points.label is None else points.label[own]
        picked = own[stratified(label, count, seed)]
        note = "; ".join(filter(None, [note, f"lines for {count} of {len(own)} images"]))
    pairs = [np.zeros((0, 2), np.int64)]
    for index, net in enumerate(points.groups):
        if net != "student":
            theirs = np.flatnonzero(points.group == index)
            _, here, there = np.intersect1d(points.sample[picked], points.sample[theirs], return_indices=True)
            pairs.append(np.column_stack([picked[here], theirs[there]]))
    return replace(points, pairs=np.concatenate(pairs), note=note)


def stratified(label: Int64[np.ndarray, "point"], count: int, seed: int = 0) -> Int64[np.ndarray, "picked"]:
    """Places of so many points, every label in its proportion (largest remainders), in order."""
    random = np.random.default_rng(seed)
    names, sizes = np.unique(label, return_counts=True)
    exact = sizes * count / max(len(label), 1)
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: count - quota.sum()]] += 1
    chosen = zip(names, quota, strict=True)
    parts = [random.choice(np.flatnonzero(label == name), n, replace=False) for name, n in chosen]
    return np.sort(np.concatenate(parts)).astype(np.int64)


@space_was_of
@checked
def pair_length(snapshot: Snapshot, space: str = "common") -> Scalars:
    """Mean distance of the student's and a teacher's row of the same image, by teacher: in the space, not in a picture.

    Rows are of length 1, so it lies between 0 and 2, and is √2 for rows that have nothing to do with each other.

    Raises InputError as `rows_of` does, and when there is no student in this space.
    """
    rows = rows_of(snapshot, space)
    if "student" not in rows or len(rows) < 2:
        raise InputError(f"{space} holds {', '.join(rows)}: expected the student and at least one other net.")
    student = rows.pop("student").astype(np.float64)
    lengths = {net: np.linalg.norm(student - theirs, axis=1) for net, theirs in rows.items()}
    values = {net: float(found.mean()) if len(found) else float("nan") for net, found in lengths.items()}
    title = f"mean distance from student to teacher, same image, {name_of(space)} (rows of length 1)"
    return Scalars(values, title=title, step=snapshot.step)
