"""Whether nets are as sure as they are right, and how sure they are."""

import numpy as np

from ka_explore.errors import check_between
from ka_explore.probes.agreement import index_among
from ka_explore.probes.classes import columns_of, labelled_task, tasks_of, teachers_of, told_task, truth
from ka_explore.probes.logits import entropy, relative_entropy, softmax
from ka_explore.probes.probe import probe
from ka_explore.probes.results import Curves, Distribution, Scalars
from ka_explore.probes.samples import finite, left_out
from ka_explore.run.snapshot import Snapshot

DIAGONAL = "as sure as right"
MOST_BINS = 10_000

Judged = dict[str, tuple[np.ndarray, np.ndarray]]  # by net: how sure it is of each image, and whether it is right


@probe(labels="used")
def reliability(snapshot: Snapshot, task: str | None = None, bins: int = 15) -> Curves:
    """How often a net is right (y) that is so sure (x): a point a bin of confidence, a line a net, and the diagonal.

    Below the diagonal a net is over-confident. Where labels are known: the student on the images of a task, its
    teachers on the images of their own classes. Where none are: the student's answer within each teacher's classes,
    "right" where the teacher says the same, which says nothing of who is really right; title and note tell.

    Args:
        task: which; by default the first that has labels, or the first.
        bins: of equal width between 0 and 1, (low, high]; empty ones have no point.

    Raises InputError for an unknown task, or bins that are not 1 to 10 000.
    """
    task, labelled = labelled_task(snapshot, task)
    found, kept = judged(snapshot, task, labelled=labelled)
    points = {name: binned(sure, right, bins)[:2] for name, (sure, right) in found.items()}
    points[DIAGONAL] = np.array([0.0, 1.0]), np.array([0.0, 1.0])
    against = "the true class" if labelled else "the teacher's answer (no labels)"
    x, y = ({name: point[i] for name, point in points.items()} for i in (0, 1))
    unit = "share right" if labelled else "share that agrees with the teacher"
    title = f"reliability against {against}{told_task(snapshot, task)}"
    note = left_out(kept, behind=f"below the diagonal: surer than right, against {against}")
    return Curves(x, y, "confidence (probability of the answer)", unit, title, note=note)


@probe(labels="needed")
def calibration_error(snapshot: Snapshot, bins: int = 15) -> Scalars:
    """Expected calibration error: Σ over bins of share of images · |share right − mean confidence|; 0 is best.

    Guo et al. 2017, "On calibration of modern neural networks", eq. 3. Of the student, a task, and of every teacher on
    the images of its own classes; NaN for a net without such images. Bins are of equal width between 0 and 1,
    (low, high]. Raises InputError for bins that are not 1 to 10 000.
    """
    truth(snapshot, None, "reliability")
    values, masks = {}, []
    for task in snapshot.labels or {}:
        found, kept = judged(snapshot, task)
        masks.append(kept)
        for net, (sure, right) in found.items():
            name = f"student {task}" if net == "student" and len(snapshot.labels or {}) > 1 else net
            confidence, share, count = binned(sure, right, bins)
            error = (count * np.abs(share - confidence)).sum()
            values[name] = float(error / count.sum()) if len(count) else float("nan")
    return Scalars(values, title="expected calibration error", note=left_out(*masks))


@probe()
def entropies(snapshot: Snapshot, relative: bool = False) -> Distribution:
    """Entropy of every answer, −Σ p log p: the student's (a task) and each teacher's; 0 is sure.

    In nats; with ``relative`` as a share of its largest value, log(labels), so that nets with different numbers of
    labels compare; 0 for a single label.
    """
    tasks, scores = tasks_of(snapshot), snapshot.arrays["scores"]
    names = {task: "student" if len(tasks) == 1 else f"student {task}" for task in tasks}
    logits = {name: scores[:, columns_of(snapshot, task)] for task, name in names.items()}
    logits |= {teacher: snapshot.arrays[f"logits/{teacher}"] for teacher in snapshot.teachers}
    measure, unit = (relative_entropy, "share of log(labels)") if relative else (entropy, "nats")
    values, note = {net: measure(z[finite(z)]) for net, z in logits.items()}, left_out(finite(*logits.values()))
    return Distribution(values, unit=unit, title="entropy of the answers", note=note)


def judged(snapshot: Snapshot, task: str, *, labelled: bool = True) -> tuple[Judged, np.ndarray]:
    """The student on the images of a task, its teachers on those of their own classes, against the true class.

    Without labels the student's answer within each teacher's classes, against the teacher's answer.
    """
    scores, columns = snapshot.arrays["scores"], columns_of(snapshot, task)
    y = truth(snapshot, task, "reliability")[1] if labelled else None
    sides = {} if y is None else {"student": (scores[:, columns], y, finite(scores[:, columns]))}
    for teacher in teachers_of(snapshot, task):
        logits, classes = snapshot.arrays[f"logits/{teacher}"], snapshot.knows[teacher]
        if y is not None:
            sides[teacher] = logits, index_among(y, columns, classes), finite(logits)
        else:
            own = scores[:, list(classes)]
            sides[f"student within {teacher}"] = own, logits.argmax(axis=1), finite(own, logits)
    found = {}
    for net, (logits, right, kept) in sides.items():
        used = kept & (right >= 0)
        found[net] = (softmax(logits[used]).max(axis=1), logits[used].argmax(axis=1) == right[used])
    return found, np.logical_and.reduce([kept for _, _, kept in sides.values()])


def binned(sure: np.ndarray, right: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every bin of confidence that is not empty: mean confidence, share right, how many."""
    check_between("bins", bins, 1, MOST_BINS)
    bin_of = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], sure)
    count = np.bincount(bin_of, minlength=bins)
    used = count > 0
    total = [np.bincount(bin_of, weights=values, minlength=bins)[used] for values in (sure, right.astype(np.float64))]
    return total[0] / count[used], total[1] / count[used], count[used]
