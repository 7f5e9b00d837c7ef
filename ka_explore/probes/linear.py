"""The linear views: all nets on two axes, which can be fixed, so that every step and every run is drawn alike."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ka_explore.errors import InputError
from ka_explore.probes.clouds import MUCH_LESS, Basis, Cloud, Kind, cloud_of, hides, project
from ka_explore.probes.fitting import axes_of
from ka_explore.probes.probe import probe
from ka_explore.probes.quality import judge
from ka_explore.probes.results import Points
from ka_explore.probes.spaces import Plane, Rows, class_labels, name_of, rows_together
from ka_explore.run.snapshot import Snapshot

AXES = {"pca": "principal axis", "class_axes": "class axis"}


@probe("common/*")
def pca(snapshot: Snapshot, basis: Basis | None = None, space: str = "common", *, quality: bool = False) -> Points:
    """Student and teachers in the common space, on two principal axes.

    Args:
        basis: to draw several steps or runs alike, see `fit_basis`; by default axes of this snapshot's own.
        space: which arrays, one of `spaces`; all must be of one width.
        quality: also say how many neighbours are real; this takes longer than the picture.

    Where the basis shows much less of this snapshot than axes of its own, or hides that nets lie apart, the note says
    so, and ``own`` is the other picture.

    Raises InputError when they are of different widths, or the basis is of another width.
    """
    return laid(snapshot, basis, space, "pca", quality=quality)


@probe("common/*")
def class_axes(
    snapshot: Snapshot, basis: Basis | None = None, space: str = "common", *, quality: bool = False
) -> Points:
    """Student and teachers in the common space, on the two axes that separate the teachers' answers best.

    Whether the student's points of a class lie on the teachers' is seen here, though no label is looked at: the axes
    are a discriminant analysis of the teachers' rows by the classes that each names itself. Arguments as of `pca`.

    Raises InputError as `pca` does, and where a space has no teachers.
    """
    return laid(snapshot, basis, space, "class_axes", quality=quality)


def laid(snapshot: Snapshot, basis: Basis | None, space: str, kind: Kind, *, quality: bool = False) -> Points:
    """A snapshot on the axes of a basis, with the picture on its own at hand; or on its own, where there is none."""
    rows = rows_together(snapshot, space)
    if basis is not None and basis.kind != kind:
        raise InputError(f"this basis is of {basis.kind}: fit one with kind={kind!r}, or draw with {basis.kind}.")
    if basis is not None and basis.mean.shape[0] != rows.values.shape[1]:
        widths = f"this basis is of width {basis.mean.shape[0]}, the rows of {rows.values.shape[1]}"
        raise InputError(f"{widths}: fit one to these rows.")
    cloud = cloud_of(rows.parts)
    alone = axes_of([(snapshot, rows.groups, cloud)], kind)
    picture = own = replace(flat(rows, cloud, alone, quality=quality and basis is None), own_axes=True)
    if basis is not None:
        picture = replace(flat(rows, cloud, basis, of_its_own=sum(alone.kept), quality=quality), own=own)
    return dress([picture], [snapshot], space)[0]


def flat(
    rows: Rows,
    cloud: Cloud,
    basis: Basis,
    *,
    of_its_own: float | None = None,
    quality: bool = False,
    before: str = "",
) -> Points:
    """The picture of rows, which are a cloud, on axes, without title and labels.

    Axes ``of_its_own`` would keep such a share; without one these are they.
    """
    xy, kept = project(cloud.parts, basis)
    words = told(cloud, xy, kept, of_its_own)[0] + ("" if of_its_own is None else fitted_to(basis))
    found: dict[str, float] = {} if np.isnan(kept) else {"variance kept": kept}
    if quality:
        more, judged = judge(rows.values, xy)
        found, words = found | more, f"{words}; {judged}"
    axes = tuple(f"{nth} {AXES[basis.kind]} (no unit)" for nth in ("1st", "2nd"))
    return rows.drawn(xy, quality=found, axes=axes, note=before + words)


def told(cloud: Cloud, xy: Plane, kept: float, of_its_own: float | None) -> tuple[str, bool]:
    """How much of a cloud is seen in a plane, in words, and whether too little.

    Too little: axes of its own would keep much more, or nets that lie apart are not drawn so.
    """
    less, hidden = of_its_own is not None and kept < MUCH_LESS * of_its_own, hides(cloud, xy)
    words = "all rows are the same: nothing to see" if np.isnan(kept) else f"keeps {kept:.0%} of the variance"
    words += f" here, {of_its_own:.0%} on its own axes" if less else ""
    return words + ("; nets lie farther apart than is drawn" if hidden else ""), less or hidden


def fitted_to(basis: Basis) -> str:
    """Which steps and runs the axes are of, behind other words."""
    if not basis.steps:
        return ""
    first, last = min(basis.steps), max(basis.steps)
    several = f" of {basis.runs} runs" if basis.runs > 1 else ""
    return f"; axes of {f'step {first}' if first == last else f'steps {first} to {last}'}{several}"


def dress(film: Sequence[Points], snapshots: Sequence[Snapshot], space: str) -> list[Points]:
    """Bare pictures with their titles and the classes of their points."""
    dressed = []
    for points, snapshot in zip(film, snapshots, strict=True):
        label, labels = class_labels(snapshot)
        label = None if label is None else label[points.sample]
        dressed.append(replace(points, label=label, labels=labels, title=name_of(space), step=snapshot.step))
    return dressed
