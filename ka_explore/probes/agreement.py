"""Student and teachers: on how many images they agree, and who is right where that is known."""

import numpy as np

from ka_explore.errors import InputError
from ka_explore.results import Scalars
from ka_explore.snapshot import Snapshot


def agreement(snapshot: Snapshot) -> Scalars:
    """On how many images the answer within a teacher's classes is the teacher's, by teacher; needs no label."""
    scores = snapshot.arrays["scores"]
    values = {}
    for teacher, classes in snapshot.knows.items():
        said = snapshot.group("logits")[teacher].argmax(axis=1)
        values[teacher] = float((scores[:, list(classes)].argmax(axis=1) == said).mean())
    return Scalars(values, title="agreement with each teacher (share of images)")


def accuracy(snapshot: Snapshot) -> Scalars:
    """On the probe set, where labels are known: joint by task, and within each teacher's classes (shares).

    Raises InputError when the pool has no labels.
    """
    if not snapshot.labels:
        raise InputError("this snapshot has no true labels: the pool was given none. agreement needs none.")
    values = {}
    scores = snapshot.arrays["scores"]
    tasks = [task for task, _ in snapshot.classes]
    for task, y in snapshot.labels.items():
        mine = np.array([i for i, t in enumerate(tasks) if t == task])
        known = y >= 0
        name = "joint" if len(snapshot.labels) == 1 else f"joint {task}"
        values[name] = mean(scores[:, mine].argmax(axis=1)[known] == y[known])
    for teacher, classes in snapshot.knows.items():
        task = tasks[classes[0]]
        if task not in snapshot.labels:
            continue
        y = snapshot.labels[task] + tasks.index(task)
        own = (snapshot.labels[task] >= 0) & np.isin(y, classes)
        answer = np.array(classes)[scores[:, list(classes)].argmax(axis=1)]
        values[f"within {teacher}"] = mean(answer[own] == y[own])
    return Scalars(values, title="accuracy (share of images)")


def mean(right: np.ndarray) -> float:
    """Share that is true; NaN of none."""
    return float(right.mean()) if len(right) else float("nan")
