"""What the points of a picture are coloured by, and which of them are joined."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from ka_explore.errors import InputError, unknown
from ka_explore.probes.agreement import answers
from ka_explore.probes.classes import task_of, tasks_of
from ka_explore.probes.probe import renamed
from ka_explore.probes.results import Points, Scalars
from ka_explore.probes.selection import shares
from ka_explore.probes.spaces import class_labels, name_of, rows_of
from ka_explore.run.snapshot import Snapshot


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
    return COLOURS[by](plain, snapshot, task)


def by_class(points: Points, snapshot: Snapshot, task: str | None) -> Points:
    """The true class of the image."""
    label, labels = class_labels(snapshot, task)
    if label is None:
        what = "no true labels" if task is None else f"no true labels of task {task!r}"
        raise InputError(f"this snapshot has {what}: colour by net, teacher, error or agreement instead.")
    return replace(points, label=label[points.sample], labels=labels, legend="class" if task is None else task)


def by_net(points: Points, _snapshot: Snapshot, _task: str | None) -> Points:
    """The net, by the plot's own rule."""
    return points


def by_teacher(points: Points, snapshot: Snapshot, task: str | None) -> Points:
    """The teacher that claims the image."""
    return replace(points, label=claimed(snapshot, task)[points.sample], labels=snapshot.teachers, legend="claimed by")


def by_error(points: Points, snapshot: Snapshot, _task: str | None) -> Points:
    """The reconstruction error of the image."""
    errors = snapshot.group("error")
    table = np.stack([np.asarray(a, np.float64) for a in errors.values()])
    known = np.isfinite(table)
    mean = np.where(known, table, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    value = np.empty(len(points.xy))
    for index, net in enumerate(points.groups):
        mine = points.group == index
        value[mine] = (np.asarray(errors[net], np.float64) if net in errors else mean)[points.sample[mine]]
    return replace(points, value=value, unit="reconstruction error (share of the feature's variance)")


def by_agreement(points: Points, snapshot: Snapshot, task: str | None) -> Points:
    """Whether the student says what the teacher says."""
    teachers = snapshot.teachers
    differs = np.full((len(teachers), len(snapshot.index)), -1)
    for index, teacher in enumerate(teachers):
        said, answer, known = answers(snapshot, teacher)
        differs[index, known] = (said != answer)[known]
    claim = claimed(snapshot, task)
    own = np.where(claim >= 0, differs[np.maximum(claim, 0), np.arange(len(claim))], -1)
    label = np.empty(len(points.xy), np.int64)
    for index, net in enumerate(points.groups):
        mine = points.group == index
        label[mine] = (differs[teachers.index(net)] if net in teachers else own)[points.sample[mine]]
    return replace(points, label=label, labels=("agrees", "differs"), legend="student and teacher")


COLOURS: Mapping[str, Callable[[Points, Snapshot, str | None], Points]] = {
    "class": by_class,
    "net": by_net,
    "teacher": by_teacher,
    "error": by_error,
    "agreement": by_agreement,
}


def claimed(snapshot: Snapshot, task: str | None = None) -> Int64[np.ndarray, "sample"]:
    """Which teacher, by place, has each image: −1 where that cannot be said.

    By the weight that the stage's selection gave, where it selects among this task's teachers; elsewhere by the share
    of the task's joint softmax in a teacher's columns.

    Args:
        snapshot: any; the teachers' logits are always there.
        task: whose teachers; by default the task of the selection, or the first that several teachers share.
    """
    teachers = snapshot.teachers
    tasks = {t: task_of(snapshot, t) for t in teachers}
    weights = {t: snapshot.arrays[f"weight/{t}"] for t in teachers if f"weight/{t}" in snapshot.arrays}
    weights = {t: a for t, a in weights.items() if task in (None, tasks[t])}
    if not weights:
        shared = [name for name, count in Counter(tasks.values()).items() if count > 1]
        wanted = task or next(iter(shared or tasks.values()))
        asked = {t: snapshot.arrays[f"logits/{t}"] for t in teachers if tasks[t] == wanted}
        if not asked:
            raise InputError(f"no teacher has task {wanted!r}: nobody claims its images.")
        table = shares(snapshot, asked)
        weights = {t: table[:, index] for index, t in enumerate(asked)}
    indices = np.array([teachers.index(t) for t in weights])
    values = np.stack([np.asarray(a, np.float64) for a in weights.values()], axis=1)
    known = np.isfinite(values).all(axis=1)
    return np.where(known, indices[np.nan_to_num(values).argmax(axis=1)], -1)


def join_pairs(points: Points, images: int | float = 1.0, *, seed: int = 0) -> Points:
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
        raise InputError(f"images={images!r}: expected a share above 0 and up to 1.0, or a whole number from 1.")
    own = np.flatnonzero(points.group == points.groups.index("student"))
    count = min(int(images), len(own)) if whole else max(1, round(images * len(own)))
    picked = own
    note = points.note
    if count < len(own):
        label = np.zeros(len(own), np.int64) if points.label is None else points.label[own]
        picked = own[stratified(label, count, seed)]
        part = f"lines for {count} of {len(own)} images"
        note = f"{note}; {part}" if note else part
    pairs = []
    for index, net in enumerate(points.groups):
        if net == "student":
            continue
        theirs = np.flatnonzero(points.group == index)
        _, here, there = np.intersect1d(points.sample[picked], points.sample[theirs], return_indices=True)
        pairs.append(np.column_stack([picked[here], theirs[there]]))
    joined = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
    return replace(points, pairs=joined.astype(np.int64), note=note)


def stratified(label: Int64[np.ndarray, "point"], count: int, seed: int = 0) -> Int64[np.ndarray, "picked"]:
    """Places of so many points, every label in its proportion (largest remainders), in order."""
    random = np.random.default_rng(seed)
    names, sizes = np.unique(label, return_counts=True)
    exact = sizes * count / max(len(label), 1)
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: count - quota.sum()]] += 1
    parts = [
        random.choice(np.flatnonzero(label == name), n, replace=False) for name, n in zip(names, quota, strict=True)
    ]
    return np.sort(np.concatenate(parts)).astype(np.int64)


@renamed(of="space")
def pair_length(snapshot: Snapshot, space: str = "common") -> Scalars:
    """Mean distance of the student's and a teacher's row of the same image, by teacher: in the space, not in a picture.

    Rows are of length 1, so it lies between 0 and 2, and is √2 for rows that have nothing to do with each other.

    Raises InputError as `rows_of` does, and when there is no student in this space.
    """
    rows = rows_of(snapshot, space)
    if "student" not in rows or len(rows) < 2:
        raise InputError(f"{space} holds {', '.join(rows)}: expected the student and at least one other net.")
    student = rows.pop("student").astype(np.float64)
    values = {}
    for net, theirs in rows.items():
        lengths = np.linalg.norm(student - theirs, axis=1)
        values[net] = float(lengths.mean()) if len(lengths) else float("nan")
    title = f"mean distance from student to teacher, same image, {name_of(space)} (rows of length 1)"
    return Scalars(values, title=title, step=snapshot.step)
