"""Tasks and classes of a snapshot: whose columns are where, what is true, what the teachers say."""

import numpy as np

from ka_explore.errors import InputError, unknown
from ka_explore.probes.samples import finite
from ka_explore.run.snapshot import Snapshot


def tasks_of(snapshot: Snapshot) -> tuple[str, ...]:
    """The tasks in order."""
    return tuple(dict.fromkeys(task for task, _ in snapshot.classes))


def columns_of(snapshot: Snapshot, task: str) -> list[int]:
    """Which columns of ``scores`` are the classes of a task."""
    return [column for column, (its_task, _) in enumerate(snapshot.classes) if its_task == task]


def names_of(snapshot: Snapshot, task: str) -> tuple[str, ...]:
    """The classes of a task by name."""
    return tuple(label for its_task, label in snapshot.classes if its_task == task)


def task_of(snapshot: Snapshot, teacher: str) -> str:
    """The task of a teacher."""
    return snapshot.classes[snapshot.knows[teacher][0]][0]


def told_task(snapshot: Snapshot, task: str) -> str:
    """The task's name as a part of a title; nothing where there is only one."""
    return f" ({task})" if len(tasks_of(snapshot)) > 1 else ""


def teachers_of(snapshot: Snapshot, task: str) -> list[str]:
    """The teachers of a task in order."""
    return [teacher for teacher in snapshot.teachers if task_of(snapshot, teacher) == task]


def one_task(snapshot: Snapshot, task: str | None) -> str:
    """The named task, by default the first; raises InputError for one that is not there."""
    if task is not None and task not in tasks_of(snapshot):
        raise unknown("task", task, tasks_of(snapshot))
    return tasks_of(snapshot)[0] if task is None else task


def labelled_task(snapshot: Snapshot, task: str | None) -> tuple[str, bool]:
    """The named task, by default the first that has labels, or the first; and whether it has labels."""
    labels = snapshot.labels or {}
    task = one_task(snapshot, next(iter(labels), None) if task is None else task)
    return task, task in labels


def truth(snapshot: Snapshot, task: str | None, instead: str) -> tuple[str, np.ndarray]:
    """A task that has labels, by default the first such, and the class of every sample in it, -1 where unknown.

    Raises InputError where there are no labels; it names the probe that needs none.
    """
    labels = snapshot.labels or {}
    wanted = next(iter(labels), None) if task is None else one_task(snapshot, task)
    if wanted is None or wanted not in labels:
        of = "" if wanted is None else f" of task {wanted!r}"
        raise InputError(f"this snapshot has no true labels{of}: the pool was given none. {instead} needs none.")
    return wanted, labels[wanted]


def classes_said(snapshot: Snapshot, task: str) -> np.ndarray:
    """(sample,): the class of a task that its teachers name together, -1 where an answer is not finite.

    It is the class of the largest logit among all their columns side by side, as a class-wise alignment without
    labels takes it (`ka_explore.methods.losses.classwise_mmd`); an over-confident teacher takes images from the others.
    """
    mine = columns_of(snapshot, task)
    teachers = teachers_of(snapshot, task)
    logits = np.concatenate([snapshot.arrays[f"logits/{teacher}"] for teacher in teachers], axis=1)
    index = np.array([mine.index(column) for teacher in teachers for column in snapshot.knows[teacher]])
    return np.where(finite(logits), index[logits.argmax(axis=1)], -1)
