"""The plane of the points panel: one pair of axes for all frames of all branches: what moves there has moved."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ka_explore.errors import InputError, unknown
from ka_explore.panels.branch import Branch
from ka_explore.panels.pairs import found_in
from ka_explore.panels.predictions import answers_of, heads_of, packed, truth_of
from ka_explore.panels.spaces import (
    MOST_FRAMES,
    PREDICTIONS,
    in_order,
    most_frames,
    nets_in,
    nothing,
    said_of,
    seen,
    spaces_of,
)
from ka_explore.plots import colour_of, marker_of
from ka_explore.probes.classes import tasks_of
from ka_explore.probes.clouds import Basis, Kind, cloud_of, project
from ka_explore.probes.fitting import axes_of, fit_basis
from ka_explore.probes.linear import told
from ka_explore.probes.samples import evenly
from ka_explore.probes.spaces import rows_of, width_of
from ka_explore.run.snapshot import Snapshot

FIT_SNAPSHOTS = 5  # of a branch, at most: what axes are fitted to
NO_CLASSES = "No teacher lies in this space, so that it has no class axes. Choose another view, for example PCA."
NO_NET = "#808080"  # of what is no net: a teachers' code


class Plane:
    """What the branches that are compared are drawn on: axes fitted to all of them."""

    def __init__(self, of: str):
        self.of = of  # the space; empty until the first snapshot where nobody chose one
        self.spaces: tuple[str, ...] = ()  # all that some snapshot has
        self.index: np.ndarray = np.zeros(0, np.int64)  # which images of the pool
        self.teachers: tuple[str, ...] = ()
        self.nets: tuple[str, ...] = ()  # those that the space has
        self.branches: list[Branch] = []
        self.kind: Kind = "pca"  # what the axes show
        self.own = False  # whether every frame is drawn on axes of its own
        self.bases: dict[Kind, Basis | None] = {}  # the axes; None while no snapshot has the space
        self.fit = 0  # how often axes were fitted: frames of other axes do not belong
        self.known: dict[str, Any] = {}  # what the browser is told of the images: classes, true ones, teachers' answers
        self._fitted: dict[Branch, int] = {}  # snapshots there were

    @property
    def basis(self) -> Basis | None:
        """The axes that all frames share; fitted when they are first asked for."""
        if self.kind not in self.bases and self.branches:
            self.bases[self.kind] = shared_axes(self.branches, self.of, self.kind)
        return self.bases.get(self.kind)

    @property
    def points(self) -> int:
        """How many points a frame has."""
        return len(self.nets) * len(self.index)

    @property
    def most(self) -> int:
        """How many frames of a branch there may be."""
        return most_frames(self.points, len(self.branches))

    def checked(self, of: str) -> str:
        """A space that some snapshot has. Raises InputError for another one."""
        if of not in self.spaces:
            raise unknown("space", of, self.spaces)
        return of

    def begin(self, branches: Sequence[Branch], snapshot: Snapshot) -> None:
        """Everything anew for the images of a snapshot: the nets of the space, its axes, no frame belongs any more."""
        self.of = self.of or spaces_of(snapshot)[0]
        self.index, self.teachers = np.asarray(snapshot.index, np.int64), snapshot.teachers
        tasks, truth = truth_of(snapshot)
        classes = {
            "names": [label for _, label in snapshot.classes], "rows": [head[:2] for head in heads_of(snapshot)],
            "tasks": tasks, "knows": dict(snapshot.knows),
        }  # fmt: skip
        self.known = {"classes": classes, "truth": truth, "taught": packed(answers_of(snapshot, student=False))}
        self._see(snapshot)
        self.nets = ()
        for branch in branches:
            for one in last_first(branch):
                with suppress(InputError):
                    self._take(one)
                    break
        self.bases = {}
        self._lay(branches)
        self._fitted = self._snapshots()

    def compare(self, branches: Sequence[Branch]) -> None:
        """Other branches, or other ones of the same name: axes and frames that are there stay until others are due."""
        self.branches = list(branches)

    def grows(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot has a net that was not there before; then all frames are to be made anew."""
        self._see(snapshot)
        with suppress(InputError):
            if self._take(snapshot):
                self._lay(self.branches)
                return True
        return False

    def frame(self, snapshot: Snapshot, basis: Basis | None = None) -> dict[str, Any]:
        """A snapshot on the axes, or on other ones.

        Returns ``xy`` (point, 2), net after net, NaN where a net has no place; the student's ``answers``, packed; the
        ``stage``; ``note``, how far the picture can be trusted, and whether this ``warns``; ``pairs`` and
        ``by_chance``, what share is found in the space; and ``said``, why there is nothing to see, if so.
        """
        basis, count = basis or self.basis, len(self.index)
        xy = np.full((self.points, 2), np.nan, np.float32)
        frame = {
            "stage": snapshot.stage,
            "xy": xy,
            "note": "",
            "warns": False,
            "said": "",
            "pairs": {},
            "by_chance": "",
        }
        if not np.array_equal(snapshot.index, self.index):
            unknown_answers = np.full((len(tasks_of(snapshot)), count), -1, np.int32)
            return frame | {"answers": unknown_answers, "said": "These are other images than the first branch's."}
        frame["answers"] = packed(answers_of(snapshot, student=True))
        shown, name = seen(snapshot, self.of)
        try:
            rows = rows_of(shown, name)
        except InputError:
            return frame | {"said": nothing(snapshot, self.of)}
        cloud = cloud_of(list(rows.values()))
        try:
            own = axes_of([(shown, list(rows), cloud)], self.kind)
        except InputError:
            return frame | {"said": NO_CLASSES}
        if basis is None or len(own.mean) != len(basis.mean):
            return frame | {"said": f"{said_of(self.of)} is of another width here."}
        laid, kept = project(cloud.parts, laid_onto(own, basis, cloud.parts) if self.own else basis)
        for net, points in zip(rows, laid.reshape(len(rows), count, 2), strict=True):
            if net in self.nets:
                xy.reshape(len(self.nets), count, 2)[self.nets.index(net)] = points
        note, too_little = told(cloud, laid, kept, None if self.own else sum(own.kept))
        return frame | {"note": note, "warns": too_little} | found_in(shown, name)

    def due(self, busy: bool) -> bool:
        """Whether others are compared since axes were fitted, a history has doubled, or a run has come to its end."""
        counts = self._snapshots()
        if counts.keys() != self._fitted.keys():
            return any(counts.values())
        grown = {branch: count for branch, count in counts.items() if count > self._fitted[branch]}
        doubled = any(count >= 2 * self._fitted[branch] for branch, count in grown.items())
        return doubled or (not busy and any(branch.run is not None and branch.run.done for branch in grown))

    def fitted_anew(self) -> tuple[Basis | None, dict[Branch, int]]:
        """Axes of the snapshots there are, laid onto the old picture; and how many snapshots there are, by branch."""
        counts, basis, now = self._snapshots(), shared_axes(self.branches, self.of, self.kind), newest(self.branches)
        if basis is not None and self.basis is not None and now is not None:
            with suppress(InputError):
                basis = laid_onto(basis, self.basis, list(rows_of(*seen(now, self.of)).values()))
        return basis, counts

    def change(self, basis: Basis | None, fitted: Mapping[Branch, int] | None = None) -> None:
        """Other axes, fitted to so many snapshots a branch: frames of the old ones do not belong any more."""
        self.bases, self.fit, self._fitted = {self.kind: basis}, self.fit + 1, dict(fitted or self._snapshots())

    def _lay(self, branches: Sequence[Branch]) -> None:
        """The axes that are there, or else are fitted when they are asked for."""
        self.compare(branches)
        self.bases = {kind: basis for kind, basis in self.bases.items() if basis is not None}
        self.fit += 1

    def _see(self, snapshot: Snapshot) -> None:
        self.spaces = tuple(dict.fromkeys((*self.spaces, *spaces_of(snapshot))))

    def _take(self, snapshot: Snapshot) -> bool:
        """Take in the nets that a snapshot has in the space; whether one is new. Raises InputError for none."""
        nets = dict.fromkeys((*self.nets, *nets_in(snapshot, self.of)))
        if len(nets) == len(self.nets):
            return False
        self.nets = in_order(nets, snapshot)
        return True

    def _snapshots(self) -> dict[Branch, int]:
        """How many each branch has."""
        return {branch: len(branch.steps_seen()) for branch in self.branches}


def look(net: str, teachers: Sequence[str]) -> dict[str, str]:
    """How a net is drawn."""
    nets = ["student", *teachers]
    if net in nets:
        return {"name": net, "colour": colour_of(net, nets), "marker": marker_of(net, nets)}
    return {"name": net, "colour": NO_NET, "marker": "X" if net == "code" else "o"}


def last_first(branch: Branch) -> Iterator[Snapshot]:
    """The snapshots of a branch, from the last on."""
    return (found for step in reversed(branch.steps_seen()) if (found := branch.snapshot(step)) is not None)


def newest(branches: Iterable[Branch]) -> Snapshot | None:
    """The last snapshot of the first branch that has one."""
    return next((snapshot for branch in branches for snapshot in last_first(branch)), None)


def shared_axes(branches: Sequence[Branch], of: str, kind: Kind = "pca") -> Basis | None:
    """Axes fitted to a few snapshots of every branch that has the space; None where none has it.

    At the width that the longest branch has last: snapshots of another one are left out.
    """
    found = [having(branch, of) for branch in sorted(branches, key=lambda branch: -len(branch.steps_seen()))]
    widths = [width for its in found for _, width in its[-1:]]
    runs = [[snapshot for snapshot, width in its if width == widths[0]] for its in found if its]
    with suppress(InputError):
        return fit_basis([run for run in runs if run], "common" if of == PREDICTIONS else of, kind)
    return None


def having(branch: Branch, of: str) -> list[tuple[Snapshot, int]]:
    """A few snapshots of a branch that have a space, as the probes draw it, with its width."""
    found: list[tuple[Snapshot, int]] = []
    for most in (FIT_SNAPSHOTS, MOST_FRAMES):  # few stages may have the space
        for snapshot in map(branch.snapshot, evenly(branch.steps_seen(), most) if not found else ()):
            with suppress(InputError):
                if snapshot is not None:
                    there, name = seen(snapshot, of)
                    found.append((there, width_of(there, name)))
    return found


def laid_onto(basis: Basis, before: Basis, parts: Sequence[np.ndarray]) -> Basis:
    """The same plane, its axes turned or mirrored so that rows come near where the old axes put them.

    The best rotation or reflection in the sense of least squares (Schönemann 1966): distances within the plane stay
    as they are. Axes of another width are left alone.
    """
    if not len(basis.mean) == len(before.mean) == parts[0].shape[1]:
        return basis
    here, there = (project(parts, axes)[0] for axes in (basis, before))
    left, _, right = np.linalg.svd((here - here.mean(axis=0)).T @ (there - there.mean(axis=0)))
    turn = left @ right
    kept = np.diag(turn.T @ np.diag(basis.kept) @ turn)
    return replace(basis, axes=turn.T @ basis.axes, kept=(float(kept[0]), float(kept[1])))
