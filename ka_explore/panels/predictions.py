"""What every net answers for every image, and what is true: as the points' tip and the samples' table show it."""

import numpy as np
from jaxtyping import Float32, Int32

from ka_explore.probes.classes import columns_of, task_of, tasks_of
from ka_explore.probes.logits import softmax
from ka_explore.run.snapshot import Snapshot


def answer_rows(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Who answers what: (net, task); the student's tasks first, then the teachers."""
    teachers = [(teacher, task_of(snapshot, teacher)) for teacher, columns in snapshot.knows.items() if columns]
    return [("student", task) for task in tasks_of(snapshot)] + teachers


def answers_of(snapshot: Snapshot, *, student: bool) -> Float32[np.ndarray, "row sample 2"]:
    """The best class (its column) and its share; NaN for no answer.

    Args:
        snapshot: any.
        student: True for the student's rows of `answer_rows`, False for the teachers'.
    """
    rows = []
    for net, task in answer_rows(snapshot):
        if (net == "student") != student:
            continue
        columns = columns_of(snapshot, task) if student else list(snapshot.knows[net])
        share = softmax(snapshot.arrays["scores"][:, columns] if student else snapshot.arrays[f"logits/{net}"])
        known = np.isfinite(share).all(axis=1)
        best = np.nan_to_num(share).argmax(axis=1)
        pair = np.stack([np.asarray(columns, float)[best], share[np.arange(len(best)), best]], axis=1)
        rows.append(np.where(known[:, None], pair, np.nan))
    return np.array(rows, np.float32).reshape(len(rows), len(snapshot.index), 2)


def packed(answers: Float32[np.ndarray, "row sample 2"]) -> Int32[np.ndarray, "row sample"]:
    """An answer in one number: 256 × the class's column + the share in 255ths; −1 where there is none."""
    column, share = np.moveaxis(np.nan_to_num(answers), -1, 0)
    numbers = 256 * column.astype(np.int32) + np.round(255 * np.clip(share, 0, 1)).astype(np.int32)
    return np.where(np.isfinite(answers).all(axis=-1), numbers, -1).astype(np.int32)


def truth_of(snapshot: Snapshot) -> tuple[list[str], Int32[np.ndarray, "task sample"]]:
    """The tasks with true classes, and the true class's column, −1 where unknown."""
    tasks, rows = [], []
    for task, label in (snapshot.labels or {}).items():
        columns = np.array(columns_of(snapshot, task), np.int64)
        if len(columns):
            tasks.append(task)
            rows.append(np.where(label >= 0, columns[np.maximum(label, 0)], -1))
    return tasks, np.array(rows, np.int32).reshape(len(rows), len(snapshot.index))
