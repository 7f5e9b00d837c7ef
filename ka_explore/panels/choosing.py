"""Which images are worth a look, and how a selection of them is told in words."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int64

from ka_explore.panels.predictions import answers_of, truth_of
from ka_explore.probes.classes import classes_said, columns_of, tasks_of
from ka_explore.probes.logits import softmax
from ka_explore.run.snapshot import Snapshot

HANDFUL = 24  # images where nothing is selected
MODES: Mapping[str, str] = {
    "handful": "some of every class", "error": "worst reconstructed", "disagree": "least as the teachers say",
    "unsure": "student least sure", "wrong": "surest wrong answers",
}  # fmt: skip
"""What is shown where nothing is selected, in words."""


def modes_of(snapshot: Snapshot) -> list[dict[str, str]]:
    """What can be chosen to be shown; where the stage or the pool lacks what it takes, the reason."""
    reasons = {
        "error": "" if any(n.startswith("error/") for n in snapshot.arrays) else "this stage reconstructs nothing",
        "wrong": "" if snapshot.labels else "the pool has no labels",
    }
    return [{"key": key, "name": name, "reason": reasons.get(key, "")} for key, name in MODES.items()]


def ranked(snapshot: Snapshot, mode: str) -> Int64[np.ndarray, "shown"] | None:
    """The images of a mode, worst first; None where the snapshot lacks what it takes."""
    if mode == "handful":
        labels = next(iter((snapshot.labels or {}).values()), None)
        return handful(classes_said(snapshot, tasks_of(snapshot)[0]) if labels is None else labels)
    if mode == "error":
        errors = [array for name, array in snapshot.arrays.items() if name.startswith("error/")]
        return worst(np.mean(errors, axis=0)) if errors else None
    if mode == "disagree":
        return worst(disagreement(snapshot))
    said = answers_of(snapshot, student=True)
    if mode == "unsure":
        return worst(-said[:, :, 1].min(axis=0))
    tasks, truth = truth_of(snapshot)
    if not tasks:
        return None
    best, share = np.moveaxis(said[[tasks_of(snapshot).index(task) for task in tasks]], -1, 0)
    sure = np.where((truth >= 0) & (best != truth) & np.isfinite(share), share, -np.inf).max(axis=0)
    order = worst(sure)
    return order[np.isfinite(sure[order])]


def handful(classes: Int64[np.ndarray, "sample"]) -> Int64[np.ndarray, "shown"]:
    """Some images of every class, as many of each as may be, in the order of the classes."""
    turn = np.zeros(len(classes), np.int64)
    for name in np.unique(classes):
        mine = classes == name
        turn[mine] = np.arange(mine.sum())
    order = np.lexsort((classes, turn))[:HANDFUL]
    return order[np.lexsort((order, classes[order]))]


def worst(values: Float[np.ndarray, "sample"]) -> Int64[np.ndarray, "shown"]:
    """The samples with the greatest values, greatest first; those that are not finite come before all."""
    return np.argsort(-np.nan_to_num(values, nan=np.inf), kind="stable")[:HANDFUL]


def disagreement(snapshot: Snapshot) -> Float[np.ndarray, "sample"]:
    """By how much a teacher is surer of its answer than the student is of the same: the largest gap over teachers.

    Both as probabilities within the teacher's classes; needs no label.
    """
    gaps = []
    for teacher, columns in snapshot.knows.items():
        taught = softmax(snapshot.arrays[f"logits/{teacher}"])
        best = np.nan_to_num(taught).argmax(axis=1)[:, None]
        gaps.append(np.take_along_axis(taught - softmax(snapshot.arrays["scores"][:, list(columns)]), best, axis=1))
    return np.max(gaps, axis=0)[:, 0]


def described(snapshot: Snapshot, selection: Int64[np.ndarray, "_"]) -> str:
    """A selection in words: how many images, of which class mostly, for which teacher worst."""
    said = [f"selection: {counted(len(selection))}"]
    if not len(selection):
        return said[0]
    if mostly := mostly_of(snapshot, selection):
        said.append(f"{mostly} mostly")
    errors = {n.split("/", 1)[1]: a[selection] for n, a in snapshot.arrays.items() if n.startswith("error/")}
    means = {name: float(np.mean(values)) for name, values in errors.items() if np.isfinite(values).all()}
    if len(means) > 1:
        said.append(f"worst for {max(means, key=means.__getitem__)} (error {max(means.values()):.2g})")
    return ", ".join(said)


def mostly_of(snapshot: Snapshot, selection: Int64[np.ndarray, "_"]) -> str | None:
    """The class that more than half of the images have; by the student's answers where no label is known."""
    task, labels = next(iter((snapshot.labels or {}).items()), ("", None))
    if labels is None:
        by, found = " (says the student)", answers_of(snapshot, student=True)[0, :, 0][selection]
    else:
        known = labels[selection]
        by, found = "", np.array(columns_of(snapshot, task))[known[known >= 0]]
    for column, count in Counter(found[np.isfinite(found)].astype(int).tolist()).most_common(1):
        if 2 * count > len(selection):
            return f"class {snapshot.classes[column][1]}{by}"
    return None


def counted(count: int) -> str:
    """So many images."""
    return f"{count} image{'' if count == 1 else 's'}"
