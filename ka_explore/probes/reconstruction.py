"""How well each teacher's feature comes back, by sample, class, channel; the worst images; what bridges leave."""

import math

import numpy as np

from ka_explore.errors import check_between, unknown
from ka_explore.probes.classes import classes_said, labelled_task, names_of, told_task, truth
from ka_explore.probes.probe import probe
from ka_explore.probes.results import Distribution, Matrix, Scalars
from ka_explore.probes.samples import average, averages, finite, left_out
from ka_explore.run.snapshot import Snapshot

UNIT = "share of the feature's variance"
CHANNEL_UNIT = "share of the channel's variance"


@probe("error/*")
def reconstruction_error(snapshot: Snapshot) -> Distribution:
    """Reconstruction error a sample and teacher, relative to the feature's variance: 1 is "no better than the mean"."""
    errors = snapshot.group("error")
    values = {teacher: error[finite(error)] for teacher, error in errors.items()}
    return Distribution(values, unit=UNIT, title="reconstruction error", note=left_out(finite(*errors.values())))


@probe("error/*", labels="used")
def error_by_class(snapshot: Snapshot, task: str | None = None) -> Matrix:
    """Mean reconstruction error, a teacher and class: which images a teacher's feature does not come back for.

    Of a task, by default the first that has labels, or the first. Where it has no labels the class is what its teachers
    name together (see `ka_explore.probes.classes.classes_said`), and the note says so. Raises InputError for an unknown
    task.
    """
    errors = snapshot.group("error")
    task, labelled = labelled_task(snapshot, task)
    y = truth(snapshot, task, "")[1] if labelled else classes_said(snapshot, task)
    names = names_of(snapshot, task)
    behind = "true classes" if labelled else "no labels: classes as the teachers together name them"
    values = np.array([[average(error[y == index]) for index in range(len(names))] for error in errors.values()])
    title = f"reconstruction error by class{told_task(snapshot, task)}"
    note = left_out(finite(*errors.values()), behind=behind)
    return Matrix(values, tuple(errors), names, UNIT, title, note=note)


@probe("channel_error/*")
def error_by_channel(snapshot: Snapshot) -> Distribution:
    """Mean reconstruction error a channel and teacher, worst channel first, relative to the channel's own variance.

    A channel without any finite error is left out. `worst_channels` names the channels.
    """
    ordered = {teacher: ranked(averages(error)) for teacher, error in snapshot.group("channel_error").items()}
    values = {teacher: np.array(list(by_channel.values())) for teacher, by_channel in ordered.items()}
    return Distribution(values, unit=CHANNEL_UNIT, title="reconstruction error by channel")


@probe("channel_error/*")
def worst_channels(snapshot: Snapshot, teacher: str | None = None, count: int = 8) -> Scalars:
    """The channels of a teacher's feature that come back worst, worst first: mean error by ``channel <index>``.

    By default of the first teacher; channels without any finite error are left out. Raises InputError when there is
    none of that teacher.
    """
    check_between("count", count, 1, math.inf)
    errors = snapshot.group("channel_error")
    teacher = one_of(errors, teacher)
    values = {f"channel {index}": value for index, value in list(ranked(averages(errors[teacher])).items())[:count]}
    return Scalars(values, unit=CHANNEL_UNIT, title=f"channels of {teacher} worst reconstructed")


@probe("error/*")
def worst_reconstructed(snapshot: Snapshot, teacher: str | None = None, count: int = 8) -> Matrix:
    """The images worst reconstructed, worst first: a row an image, a column a teacher.

    Ranked by a teacher's error, by default by the mean over teachers. The rows' names are the images' places in the
    pool: ``[int(row) for row in result.rows]``. Raises InputError when there is none of that teacher.
    """
    check_between("count", count, 1, math.inf)
    errors = snapshot.group("error")
    table = np.stack(list(errors.values()), axis=1).astype(np.float64)
    kept = finite(table)
    by = table.mean(axis=1) if teacher is None else table[:, list(errors).index(one_of(errors, teacher))]
    worst = np.array(list(ranked(np.where(kept, by, np.nan)))[:count], dtype=int)
    names = tuple(map(str, snapshot.index[worst])), tuple(errors)
    note = left_out(kept, behind=f"rows: places in the pool, worst first by {teacher or 'the mean over teachers'}")
    return Matrix(table[worst], *names, unit=UNIT, title="images worst reconstructed", note=note)


@probe("bridge/*")
def bridges(snapshot: Snapshot) -> Matrix:
    """What is left of a bridge's source after it, a source (row) and block (column), relative to its variance.

    1 is "no better than the mean"; method C (Shen, ICCV 2019). NaN where a source has no bridge at a block.
    """
    group = snapshot.group("bridge")
    left = {tuple(name.split("/", 1)): average(values) for name, values in group.items()}
    sources, blocks = (tuple(dict.fromkeys(names)) for names in zip(*left, strict=True))
    values = np.array([[left.get((source, block), np.nan) for block in blocks] for source in sources])
    unit, note = "share of the source's variance", left_out(finite(*group.values()))
    return Matrix(values, sources, blocks, unit, "what transfer bridges leave", note=note)


def ranked(values: np.ndarray) -> dict[int, float]:
    """The finite values by their index, largest first, the first of equals first."""
    order = np.argsort(-values, kind="stable")
    return {int(index): float(values[index]) for index in order if np.isfinite(values[index])}


def one_of(errors: dict[str, np.ndarray], teacher: str | None) -> str:
    """The named teacher, by default the first that has errors."""
    if teacher is not None and teacher not in errors:
        raise unknown("teacher", teacher, errors)
    return next(iter(errors)) if teacher is None else teacher
