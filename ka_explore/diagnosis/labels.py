"""Whether a teacher's labels mean what they are called, the same as another's, and are right of what the pool shows."""

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np

from ka_explore.diagnosis.evidence import CannotCheck, Evidence, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import finite_rows
from ka_explore.probes.logits import softmax
from ka_explore.probes.results import Matrix

ENOUGH = 20  # of its own images, below which a share of right answers says little
SURE = 0.8  # probability from which a teacher is sure of its answer


def labels_permuted(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher's columns stand for its labels in another order; needs true labels, for marking."""
    last = evidence.last
    for name in evidence.teachers:
        known, truth = list(last.knows[name]), evidence.truth(name)
        own = np.isin(truth, known)
        if own.sum() < max(10, 2 * len(known)) or len(known) < 2:
            continue
        true = np.array([known.index(c) for c in truth[own]])
        table = counted(true, evidence.logits(name)[own].argmax(axis=1), len(known))
        fitting = renaming(table)
        names = tuple(last.classes[c][1] for c in known)
        # a label counts as moved where most of its images, and no few, are called by the other label
        moved = [
            (r, c)
            for r, c in enumerate(fitting)
            if r != c and table[r].sum() >= 3 and table[r, c] >= 0.5 * table[r].sum() and table[r, r] < table[r, c]
        ]
        before, after = table.trace() / table.sum(), table[range(len(known)), fitting].sum() / table.sum()
        renamed = [names[fitting.index(column)] for column in range(len(known))]  # the true name of each column
        yield judged(
            "labels_permuted",
            float(after - before) if len(moved) >= 2 else 0.0,
            name,
            {"right as named": float(before), "right if renamed": float(after), "labels moved": len(moved)},
            moved=", ".join(f"{names[c]} is {names[r]}" for r, c in moved),
            renamed=renamed,
            result=Matrix(table, names, names, title=f"{name}: images by true label (row) and answer (column)"),
        )


def wrong_answers(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher is as often right on its own images as the others, or alone, as it is sure; for marking."""
    right: dict[str, float] = {}
    sure: dict[str, float] = {}
    for name in evidence.teachers:
        known, truth = list(evidence.last.knows[name]), evidence.truth(name)
        own = np.isin(truth, known)
        if own.sum() >= ENOUGH and len(known) > 1:
            logits = evidence.logits(name)[own]
            right[name] = float((np.array(known)[logits.argmax(axis=1)] == truth[own]).mean())
            sure[name] = float(softmax(logits).max(axis=1).mean())
    for name, share in right.items():
        mates = [right[mate] for mate in evidence.mates(name) if mate in right]
        expected = max(mates, default=sure[name])
        numbers = {"right": share, "the best other, or how sure it is itself": expected}
        yield judged("wrong_answers", share / max(expected, 1e-9), name, numbers, right=share, expected=expected)


def counted(rows: np.ndarray, columns: np.ndarray, size: int) -> np.ndarray:
    """How many samples have each pair of two answers."""
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size).astype(float)


def renaming(table: np.ndarray) -> list[int]:
    """The column that each row of a table should have, one each, so that most of it stands on the diagonal."""
    from scipy.optimize import linear_sum_assignment

    return [int(column) for column in linear_sum_assignment(-table)[1]]


def teachers_disagree(evidence: Evidence) -> Iterator[Finding]:
    """Whether two teachers that know the same labels contradict each other: where both are sure, or by their names."""
    last = evidence.last
    surer = "" if evidence.method == "adaptive" else 'Run(problem, "adaptive")'
    for one, two in combinations(evidence.teachers, 2):
        shared = [c for c in last.knows[one] if c in last.knows[two]]
        if len(shared) < 2:
            continue
        first, second = finite_rows(
            *(evidence.logits(t)[:, [last.knows[t].index(c) for c in shared]] for t in (one, two))
        )
        if not len(first):
            continue
        sure = np.minimum(*(softmax(z).max(axis=1) for z in (first, second))) >= SURE
        said_one, said_two = first.argmax(axis=1), second.argmax(axis=1)
        differ = float((said_one != said_two)[sure].mean()) if sure.sum() >= 10 else 0.0
        table = counted(said_one, said_two, len(shared))
        gain = float((table[range(len(shared)), renaming(table)].sum() - table.trace()) / table.sum())
        names = tuple(last.classes[c][1] for c in shared)
        finding = partial(
            judged,
            subject=f"{one} / {two}",
            evidence={
                "same answers (share of all images)": float(table.trace() / table.sum()),
                "images where both are sure": float(sure.sum()),
                "labels shared": float(len(shared)),
            },
            attempts=[Attempt("Let the surer teacher teach each image.", code=surer)] if surer else (),
            result=Matrix(table, names, names, title=f"images by what {one} says (row) and {two} (column)"),
            one=one,
            two=two,
        )
        yield finding("teachers_disagree", differ)
        yield finding("teachers_renamed", gain if len(first) >= 5 * len(shared) else 0.0)


def foreign_pool(evidence: Evidence) -> Iterator[Finding]:
    """Whether the pool holds images of each teacher's classes; needs true labels, for marking."""
    for name in evidence.teachers:
        truth = evidence.truth(name)
        known = truth[truth >= 0]
        if len(known) < 20:
            raise CannotCheck("too few labelled images.")
        classes = {c for t in (name, *evidence.mates(name)) for c in evidence.last.knows[t]}
        fair = len(evidence.last.knows[name]) / max(len(classes), 1)
        share = float(np.isin(known, evidence.last.knows[name]).mean())
        numbers = {"share of the pool in its classes": share, "if all classes were alike": fair}
        yield judged("foreign_pool", share / fair, name, numbers)
