"""Student and teachers: on which images they agree, what is taken for what, and who is right where that is known."""

import numpy as np

from ka_explore.errors import unknown
from ka_explore.probes.classes import columns_of, names_of, task_of, tasks_of, told_task, truth
from ka_explore.probes.probe import probe
from ka_explore.probes.results import Matrix, Scalars
from ka_explore.probes.samples import average, finite, left_out
from ka_explore.run.snapshot import Snapshot


@probe()
def agreement(snapshot: Snapshot) -> Scalars:
    """On how many images the answer within a teacher's classes is the teacher's, by teacher; needs no label."""
    found = {teacher: answers(snapshot, teacher) for teacher in snapshot.teachers}
    values = {teacher: average((answer == said)[kept]) for teacher, (said, answer, kept) in found.items()}
    note = left_out(*(kept for _, _, kept in found.values()))
    return Scalars(values, title="agreement with each teacher (share of images)", note=note)


@probe()
def agreement_by_class(snapshot: Snapshot) -> Matrix:
    """`agreement` by what the teacher says: a row a teacher, a column a class; needs no label.

    NaN where the teacher does not know the class, or says it of no image.
    """
    several = len(tasks_of(snapshot)) > 1
    values = np.full((len(snapshot.teachers), len(snapshot.classes)), np.nan)
    masks = []
    for row, teacher in enumerate(snapshot.teachers):
        said, answer, kept = answers(snapshot, teacher)
        for index, column in enumerate(snapshot.knows[teacher]):
            values[row, column] = average((answer == said)[kept & (said == index)])
        masks.append(kept)
    columns = tuple(f"{task}: {label}" if several else label for task, label in snapshot.classes)
    unit, title = "share of the images of which the teacher says so", "agreement with each teacher by its answer"
    return Matrix(values, snapshot.teachers, columns, unit, title, note=left_out(*masks))


@probe()
def confusion_with(snapshot: Snapshot, teacher: str | None = None) -> Matrix:
    """What a teacher says (rows) and the student's answer within its classes (columns), as shares of the row.

    Needs no label. A row is NaN where the teacher says so of no image. By default of the first teacher; raises
    InputError for an unknown one.
    """
    if teacher is not None and teacher not in snapshot.knows:
        raise unknown("teacher", teacher, snapshot.teachers)
    teacher = teacher or snapshot.teachers[0]
    said, answer, kept = answers(snapshot, teacher)
    names = tuple(snapshot.classes[column][1] for column in snapshot.knows[teacher])
    note = left_out(kept, behind=f"the student's answer among the classes of {teacher}")
    return confused(said[kept], answer[kept], names, teacher, f"student against {teacher}", note)


@probe(labels="needed")
def confusion(snapshot: Snapshot, task: str | None = None) -> Matrix:
    """The true class (rows) and the student's answer (columns), as shares of the row; a row without images is NaN.

    By default of the first task that has labels; raises InputError for an unknown one.
    """
    task, y = truth(snapshot, task, "confusion_with")
    scores, names = snapshot.arrays["scores"][:, columns_of(snapshot, task)], names_of(snapshot, task)
    kept, title = finite(scores), f"true class and answer{told_task(snapshot, task)}"
    used = kept & (y >= 0)
    return confused(y[used], scores.argmax(axis=1)[used], names, "true", title, left_out(kept))


@probe(labels="needed")
def accuracy(snapshot: Snapshot) -> Scalars:
    """On the probe set, where labels are known: joint by task, and within each teacher's classes (shares)."""
    truth(snapshot, None, "agreement")
    labels, scores = snapshot.labels or {}, snapshot.arrays["scores"]
    values, masks = {}, []
    for task, y in labels.items():
        mine = scores[:, columns_of(snapshot, task)]
        kept = finite(mine)
        values["joint" if len(labels) == 1 else f"joint {task}"] = average((mine.argmax(axis=1) == y)[kept & (y >= 0)])
        masks.append(kept)
    for teacher, classes in snapshot.knows.items():
        task = task_of(snapshot, teacher)
        if task in labels:
            known = index_among(labels[task], columns_of(snapshot, task), classes)
            mine = scores[:, list(classes)]
            values[f"within {teacher}"] = average((mine.argmax(axis=1) == known)[finite(mine) & (known >= 0)])
    return Scalars(values, title="accuracy (share of images)", note=left_out(*masks))


def answers(snapshot: Snapshot, teacher: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sample,) each: what a teacher says, the student's answer within its classes (indices), and which are finite."""
    logits = snapshot.arrays[f"logits/{teacher}"]
    scores = snapshot.arrays["scores"][:, list(snapshot.knows[teacher])]
    return logits.argmax(axis=1), scores.argmax(axis=1), finite(logits, scores)


def index_among(y: np.ndarray, columns: list[int], classes: tuple[int, ...]) -> np.ndarray:
    """(sample,): the index of the true class of a task among a teacher's classes, -1 where it knows it not."""
    indices = np.array([classes.index(column) if column in classes else -1 for column in columns])
    return np.where(y >= 0, indices[y], -1)


def confused(rows: np.ndarray, columns: np.ndarray, names: tuple[str, ...], who: str, title: str, note: str) -> Matrix:
    """(class, class): the share of each row's samples that the student puts in each column; NaN for a row without."""
    count = len(names)
    counts = np.bincount(rows * count + columns, minlength=count * count).reshape(count, count)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.where(total > 0, counts / np.maximum(total, 1), np.nan)
    told, said = (tuple(f"{net}: {name}" for name in names) for net in (who, "student"))
    return Matrix(shares, told, said, unit="share of the row", title=title, note=note)
