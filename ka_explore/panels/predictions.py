"""What every net answers for every image, and what is true: as the points' tip and the samples' table show it."""

import numpy as np
from jaxtyping import Float32, Int32

from ka_explore.probes.classes import columns_of, task_of, tasks_of
from ka_explore.probes.logits import softmax
from ka_explore.probes.samples import finite
from ka_explore.run.snapshot import Snapshot


def heads_of(snapshot: Snapshot) -> list[tuple[str, str, list[int], np.ndarray]]:
    """Who answers what: (net, task, columns, logits); the student's tasks first, then the teachers."""
    scores, arrays = snapshot.arrays["scores"], snapshot.arrays
    tasks = {task: columns_of(snapshot, task) for task in tasks_of(snapshot)}
    return [("student", task, columns, scores[:, columns]) for task, columns in tasks.items()] + [
        (teacher, task_of(snapshot, teacher), list(columns), arrays[f"logits/{teacher}"])
        for teacher, columns in snapshot.knows.items()
        if columns
    ]


def answers_of(snapshot: Snapshot, *, student: bool) -> Float32[np.ndarray, "row sample 2"]:
    """The best class (its column) and its share, of the student or of the teachers in order; NaN for no answer."""
    rows = []
    for columns, logits in [(c, a) for net, _, c, a in heads_of(snapshot) if (net == "student") == student]:
        share = softmax(logits)
        best = np.nan_to_num(share).argmax(axis=1)
        pair = np.stack([np.asarray(columns, float)[best], share[np.arange(len(best)), best]], axis=1)
        rows.append(np.where(finite(share)[:, None], pair, np.nan))
    return np.array(rows, np.float32).reshape(len(rows), len(snapshot.index), 2)


def packed(answers: Float32[np.ndarray, "row sample 2"]) -> Int32[np.ndarray, "row sample"]:
    """An answer in one number: 256 × the class's column + the share in 255ths; −1 where there is none."""
    column, share = np.moveaxis(np.nan_to_num(answers), -1, 0)
    numbers = 256 * column.astype(np.int32) + np.round(255 * np.clip(share, 0, 1)).astype(np.int32)
    return np.where(np.isfinite(answers).all(axis=-1), numbers, -1).astype(np.int32)


def truth_of(snapshot: Snapshot) -> tuple[list[str], Int32[np.ndarray, "task sample"]]:
    """The tasks with true classes, and the true class's column, −1 where unknown."""
    tasks = {task: np.array(columns) for task in snapshot.labels or {} if (columns := columns_of(snapshot, task))}
    labels = {task: (snapshot.labels or {})[task] for task in tasks}
    rows = [np.where(labels[task] >= 0, columns[np.maximum(labels[task], 0)], -1) for task, columns in tasks.items()]
    return list(tasks), np.array(rows, np.int32).reshape(len(rows), len(snapshot.index))
