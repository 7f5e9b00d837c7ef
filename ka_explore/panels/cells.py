"""The images that a row, a column or a cell of a table stands for."""

from typing import Any

import numpy as np
from jaxtyping import Bool

from ka_explore.probes.classes import classes_said, columns_of, names_of, task_of, tasks_of, teachers_of
from ka_explore.probes.samples import finite
from ka_explore.probes.selection import shares
from ka_explore.run.snapshot import Snapshot

Mask = Bool[np.ndarray, "sample"]


def images_of(snapshot: Snapshot, table: str, row: Any, column: Any) -> Mask | None:
    """Which images a row, a column (the other one is None) or a cell of a table stands for; None where for none.

    The table is named by the key of a `Choice`.
    """
    probe, _, whose = table.partition(":")
    masks = [side_of(snapshot, probe, whose, str(n), axis) for axis, n in enumerate((row, column)) if n is not None]
    if len(masks) == 2:
        # the error of a teacher on the images of a class: these images, whoever knows the class
        if probe in ("worst_reconstructed", "error_by_class"):
            return masks[0 if probe == "worst_reconstructed" else 1]
        if probe in ("agreement_by_class", "responsibility"):
            return (teacher_says if probe == "agreement_by_class" else claimed_most)(snapshot, str(row), str(column))
    there = [mask for mask in masks if mask is not None]  # a column of numbers alone stands for no images
    return np.logical_and.reduce(there) if there else None


def side_of(snapshot: Snapshot, probe: str, whose: str, name: str, axis: int) -> Mask | None:
    """The images of a row (axis 0) or a column (1) by its name."""
    if probe == "worst_reconstructed" and axis == 0:
        return np.asarray(snapshot.index.astype(str) == name)
    if probe == "selection" and axis == 0 and name == "all images":
        return np.ones(len(snapshot.index), bool)
    if probe == "selection" and axis == 1 and name in snapshot.knows:
        task = task_of(snapshot, name)
        if f"selected/{task}" in snapshot.arrays:  # who teaches an image most
            return np.asarray(snapshot.arrays[f"selected/{task}"] == teachers_of(snapshot, task).index(name))
    label = name.partition(": ")[2]
    if probe == "confusion_with" and whose in snapshot.knows:
        columns = list(snapshot.knows[whose])
        labels = [snapshot.classes[column][1] for column in columns]
        logits = snapshot.arrays[f"logits/{whose}"] if axis == 0 else snapshot.arrays["scores"][:, columns]
        return answered(logits, labels.index(label)) if label in labels else None
    task = whose if whose in tasks_of(snapshot) else next(iter(snapshot.labels or {}), tasks_of(snapshot)[0])
    if probe == "confusion":
        return class_images(snapshot, task, label, student=axis == 1)
    if name in snapshot.knows:
        return teacher_images(snapshot, name)
    if probe == "error_by_class":
        return class_images(snapshot, task, name, said=True)
    names = class_names(snapshot)
    return class_images(snapshot, *snapshot.classes[names.index(name)]) if name in names else None


def class_names(snapshot: Snapshot) -> list[str]:
    """Readable names of all classes: with their task in front where there are several."""
    several = len(tasks_of(snapshot)) > 1
    return [f"{task}: {label}" if several else label for task, label in snapshot.classes]


def answered(logits: np.ndarray, index: int) -> Mask:
    """Where the logit of this index is the largest; nowhere where one is not finite."""
    return np.asarray((logits.argmax(axis=1) == index) & finite(logits))


def class_images(
    snapshot: Snapshot, task: str, label: str, *, student: bool = False, said: bool = False
) -> Mask | None:
    """The images of a class: truly; for ``student`` or without labels as it answers (``said``: as the teachers do)."""
    names = names_of(snapshot, task)
    if label not in names:
        return None
    labels = (snapshot.labels or {}).get(task)
    if labels is not None and not student:
        return np.asarray(labels == names.index(label))
    if said and not student:
        return np.asarray(classes_said(snapshot, task) == names.index(label))
    return answered(snapshot.arrays["scores"][:, columns_of(snapshot, task)], names.index(label))


def teacher_images(snapshot: Snapshot, teacher: str) -> Mask:
    """The images of a teacher's classes: truly, or where nobody knows as the student answers."""
    task = task_of(snapshot, teacher)
    columns = columns_of(snapshot, task)
    known = [columns.index(column) for column in snapshot.knows[teacher]]
    labels = (snapshot.labels or {}).get(task)
    if labels is None:
        scores = snapshot.arrays["scores"][:, columns]
        labels = np.where(finite(scores), scores.argmax(axis=1), -1)
    return np.isin(labels, known)


def teacher_says(snapshot: Snapshot, teacher: str, name: str) -> Mask | None:
    """The images of which a teacher says that they are of a class; None where it does not know the class."""
    known = [class_names(snapshot)[column] for column in snapshot.knows.get(teacher, ())]
    return answered(snapshot.arrays[f"logits/{teacher}"], known.index(name)) if name in known else None


def claimed_most(snapshot: Snapshot, by: str, teacher: str) -> Mask | None:
    """The images of which a teacher claims more than the others of its task, by an evidence of the claims' table."""
    claims = claims_by(snapshot, by)
    if teacher not in claims:
        return None
    mine = [name for name in teachers_of(snapshot, task_of(snapshot, teacher)) if name in claims]
    return answered(np.stack([claims[name] for name in mine], axis=1), mine.index(teacher))


def claims_by(snapshot: Snapshot, by: str) -> dict[str, np.ndarray]:
    """Every teacher's claim of every image by an evidence: share of the joint softmax of its task."""
    if by not in ("own answers", "student"):
        given = {teacher: f"claim/{by}/{teacher}" for teacher in snapshot.knows}
        return {teacher: snapshot.arrays[name] for teacher, name in given.items() if name in snapshot.arrays}
    logits = {teacher: snapshot.arrays[f"logits/{teacher}"] for teacher in snapshot.knows}
    if by == "student":
        logits = {teacher: snapshot.arrays["scores"][:, list(columns)] for teacher, columns in snapshot.knows.items()}
    return dict(zip(logits, shares(snapshot, logits).T, strict=True))
