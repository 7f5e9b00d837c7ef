"""Whose image it is: which teacher claims it and why, and which teacher was chosen to teach it."""

import warnings

import numpy as np

from ka_explore.errors import InputError
from ka_explore.probes.classes import names_of, task_of, teachers_of
from ka_explore.probes.logits import logsumexp, relative_entropy
from ka_explore.probes.probe import probe
from ka_explore.probes.results import Matrix, Scalars
from ka_explore.probes.samples import average, averages, finite, left_out
from ka_explore.run.snapshot import Snapshot


@probe()
def responsibility(snapshot: Snapshot, sample: int | None = None) -> Matrix:
    """Which teacher claims an image, and by what: rows of evidence, one column a teacher.

    A claim is the share of the joint softmax of a task that lies in a teacher's columns, so a task's teachers sum to
    1. The rows: by the teachers' own answers; where targets are not these, what made them (standardised answers,
    neighbours) and what became of it (target); the student's; and, for one image, the entropy of each teacher's
    answer as a share of its largest value, log(labels).

    ``sample`` is an image's place in the snapshot; None for the mean over all. Raises InputError for a place that is
    not there.
    """
    count = len(snapshot.index)
    if sample is not None and not 0 <= sample < count:
        raise InputError(f"sample={sample}: this snapshot has {count} images, expected 0 to {count - 1}.")
    teachers = snapshot.teachers
    logits, scores = snapshot.group("logits"), snapshot.arrays["scores"]
    rows = {"own answers": shares(snapshot, {t: logits[t] for t in teachers})}
    for kind in dict.fromkeys(name.split("/")[1] for name in snapshot.arrays if name.startswith("claim/")):
        if kind != "own":
            rows[kind] = np.stack([snapshot.arrays[f"claim/{kind}/{teacher}"] for teacher in teachers], axis=1)
    rows["student"] = shares(snapshot, {t: scores[:, list(snapshot.knows[t])] for t in teachers})
    if sample is not None:
        rows["entropy of the answer"] = np.stack([relative_entropy(logits[t]) for t in teachers], axis=1)
    picked = {name: averages(values) if sample is None else values[sample] for name, values in rows.items()}
    who = "mean over all images" if sample is None else f"image {snapshot.index[sample]} of the pool"
    note = left_out(finite(*rows.values())) if sample is None else ""
    values = np.stack(list(picked.values()))
    return Matrix(values, tuple(picked), teachers, unit="share", title=f"who claims it: {who}", note=note)


def claims(snapshot: Snapshot, sample: int | None = None) -> Matrix:
    """`responsibility` by its old name."""
    warnings.warn("the probe claims is responsibility since version 0.2.", FutureWarning, stacklevel=2)
    return responsibility(snapshot, sample)


@probe("weight/*", labels="used")
def selection(snapshot: Snapshot) -> Matrix:
    """How much each teacher taught, a true class where labels are known: mean weight of the selection (method C).

    Rows are the classes of the task of the stage's component; without labels one row for all images. Columns are the
    task's teachers.
    """
    weights = snapshot.group("weight")
    values = np.stack(list(weights.values()), axis=1)
    task = next(iter(snapshot.group("selected")))
    truth = (snapshot.labels or {}).get(task)
    rows = {"all images": averages(values)}
    if truth is not None:
        names = names_of(snapshot, task)
        rows |= {name: averages(values[truth == i]) for i, name in enumerate(names) if (truth == i).any()}
    table, unit, note = np.stack(list(rows.values())), "share of the teaching", left_out(finite(values))
    return Matrix(table, tuple(rows), tuple(weights), unit, f"who teaches {task}", note=note)


@probe("selected/*")
def selection_share(snapshot: Snapshot) -> Scalars:
    """Share of the images that each teacher teaches most, a task's teachers sum to 1 (method C)."""
    group = snapshot.group("selected")
    values = {
        teacher: average((chosen == index)[finite(chosen)])
        for task, chosen in group.items()
        for index, teacher in enumerate(teachers_of(snapshot, task))
    }
    return Scalars(values, title="who teaches most (share of images)", note=left_out(finite(*group.values())))


def shares(snapshot: Snapshot, logits: dict[str, np.ndarray]) -> np.ndarray:
    """(image, teacher): the share of each task's joint softmax in each teacher's columns."""
    teachers = list(logits)
    tasks = [task_of(snapshot, teacher) for teacher in teachers]
    totals = np.stack([logsumexp(logits[t]) for t in teachers], axis=1)
    result = np.empty_like(totals)
    for task in dict.fromkeys(tasks):
        mine = [i for i, its_task in enumerate(tasks) if its_task == task]
        with np.errstate(invalid="ignore"):
            result[:, mine] = np.exp(totals[:, mine] - logsumexp(totals[:, mine])[:, None])
    return result
