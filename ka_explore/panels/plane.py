"""The plane of the points panel: one pair of axes for all frames of all branches: what moves there has moved."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ka_explore.errors import InputError, unknown
from ka_explore.panels.branch import Branch
from ka_explore.panels.pairs import found_in
from ka_explore.panels.predictions import answers_of, heads_of, packed, truth_of
from ka_explore.panels.spaces import MOST_FRAMES, in_order, most_frames, nets_in, nothing, said_of, seen, spaces_of
from ka_explore.plots import colour_of, marker_of
from ka_explore.probes.axes import read_basis, view_path
from ka_explore.probes.classes import tasks_of
from ka_explore.probes.linear import Basis, fit_basis, project
from ka_explore.probes.spaces import rows_of, width_of
from ka_explore.run.snapshot import Snapshot

FIT_SNAPSHOTS = 5  # at most: what axes are fitted to
NO_NET = "#808080"  # of what is no net: a teachers' code


class Plane:
    """What the branches that are compared are drawn on: axes fitted to the longest of them."""

    def __init__(self, of: str):
        self.of = of  # the space; empty until the first snapshot where nobody chose one
        self.spaces: tuple[str, ...] = ()  # all that some snapshot has
        self.index: np.ndarray = np.zeros(0, np.int64)  # which images of the pool
        self.teachers: tuple[str, ...] = ()
        self.nets: tuple[str, ...] = ()  # those that the space has
        self.branches: list[Branch] = []
        self.basis: Basis | None = None  # the axes; None while no snapshot has the space
        self.fit = 0  # how often axes were fitted: frames of other axes do not belong
        self.known: dict[str, Any] = {}  # what the browser is told of the images: classes, true ones, teachers' answers
        self._fitted_to = 0  # snapshots there were

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
        self.basis = kept_axes(branches[0], self.of)
        self._lay(branches)
        self._fitted_to = self._snapshots()

    def compare(self, branches: Sequence[Branch]) -> None:
        """Other branches, or other ones of the same name: axes and frames that are there stay."""
        self.branches = list(branches)
        self._fitted_to = min(self._fitted_to, self._snapshots())

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
        ``stage``; ``note``, how far the picture can be trusted; ``pairs`` and ``by_chance``, what share is found in the
        space; and ``said``, why there is nothing to see, if so.
        """
        basis, count = basis or self.basis, len(self.index)
        xy = np.full((self.points, 2), np.nan, np.float32)
        frame = {"stage": snapshot.stage, "xy": xy, "note": "", "said": "", "pairs": {}, "by_chance": ""}
        if not np.array_equal(snapshot.index, self.index):
            unknown_answers = np.full((len(tasks_of(snapshot)), count), -1, np.int32)
            return frame | {"answers": unknown_answers, "said": "These are other images than the first branch's."}
        frame["answers"] = packed(answers_of(snapshot, student=True))
        shown, name = seen(snapshot, self.of)
        try:
            rows = rows_of(shown, name)
        except InputError:
            return frame | {"said": nothing(snapshot, self.of)}
        if basis is None or next(iter(rows.values())).shape[1] != len(basis.mean):
            return frame | {"said": f"{said_of(self.of)} is of another width here."}
        laid, kept = project(list(rows.values()), basis)
        for net, points in zip(rows, laid.reshape(len(rows), count, 2), strict=True):
            if net in self.nets:
                xy.reshape(len(self.nets), count, 2)[self.nets.index(net)] = points
        note = "all rows are the same: nothing to see" if np.isnan(kept) else f"keeps {kept:.0%} of the variance"
        return frame | {"note": note} | found_in(shown, name)

    def due(self, busy: bool) -> bool:
        """Whether the history has doubled since axes were fitted, or the run has come to its end since."""
        if not self.branches:
            return False
        count, run = self._snapshots(), longest_first(self.branches)[0].run
        ended = run is not None and run.done and self._fitted_to < count
        return count >= 2 * max(self._fitted_to, 1) or (ended and not busy)

    def fitted_anew(self) -> tuple[Basis | None, int]:
        """Axes of the snapshots there are, laid onto the old picture; and how many snapshots there are."""
        count, basis, now = self._snapshots(), axes_of(self.branches, self.of), newest(self.branches)
        if basis is not None and self.basis is not None and now is not None:
            basis = laid_onto(basis, self.basis, now, self.of)
        return basis, count

    def change(self, basis: Basis | None, fitted_to: int) -> None:
        """Other axes, fitted to so many snapshots: frames of the old ones do not belong any more."""
        self.basis, self.fit, self._fitted_to = basis, self.fit + 1, fitted_to

    def _lay(self, branches: Sequence[Branch]) -> None:
        """The axes that are there, or else are fitted now."""
        self.compare(branches)
        self.basis = self.basis or axes_of(branches, self.of)
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

    def _snapshots(self) -> int:
        """How many the longest branch has."""
        return max(len(branch.steps_seen()) for branch in self.branches)


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


def longest_first(branches: Iterable[Branch]) -> list[Branch]:
    """The branch with the most snapshots first, a parent before its forks."""
    return sorted(branches, key=lambda branch: -len(branch.steps_seen()))


def spread(steps: Sequence[int], most: int) -> list[int]:
    """So many steps, the first, the last and evenly between."""
    if len(steps) <= most:
        return list(steps)
    return [steps[at] for at in np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]


def kept_axes(branch: Branch, of: str) -> Basis | None:
    """The axes that the run's folder keeps, where they were fitted to most of what is stored."""
    found = read_basis(view_path(branch.store.folder, of), of)
    stored = branch.store.snapshot_steps()
    return found if found is not None and stored and max(found.steps, default=0) >= 0.5 * stored[-1] else None


def axes_of(branches: Sequence[Branch], of: str) -> Basis | None:
    """Axes fitted to a few snapshots of the longest branch that has the space; None where none has it."""
    for branch in longest_first(branches):
        steps = branch.steps_seen()
        for tried in (spread(steps, FIT_SNAPSHOTS), spread(steps, MOST_FRAMES)):  # few stages may have the space
            snapshots = [snapshot for step in tried if (snapshot := branch.snapshot(step)) is not None]
            with suppress(InputError):
                return fitted(snapshots, of)
    return None


def fitted(snapshots: Sequence[Snapshot], of: str) -> Basis:
    """Axes of a few snapshots; those of stages without the space, or of another width than the last, are left out.

    Raises InputError where none has it.
    """
    wide: list[tuple[int, Snapshot]] = []
    name, refused = of, InputError("axes need at least one snapshot, got none.")
    for snapshot in sorted(snapshots, key=lambda s: s.step):
        try:
            shown, name = seen(snapshot, of)
            wide.append((width_of(shown, name), shown))
        except InputError as error:
            refused = error
    if not wide:
        raise refused
    return fit_basis([shown for width, shown in wide if width == wide[-1][0]], name)


def laid_onto(basis: Basis, before: Basis, snapshot: Snapshot, of: str) -> Basis:
    """The same plane, its axes turned or mirrored so that a snapshot comes near where the old axes put it.

    The best rotation or reflection in the sense of least squares (Schönemann 1966): distances within the plane stay
    as they are. Axes of another width are left alone.
    """
    parts: list[np.ndarray] = []
    with suppress(InputError):
        parts = list(rows_of(*seen(snapshot, of)).values())
    if not parts or not len(basis.mean) == len(before.mean) == parts[0].shape[1]:
        return basis
    here, there = (project(parts, axes)[0] for axes in (basis, before))
    left, _, right = np.linalg.svd((here - here.mean(axis=0)).T @ (there - there.mean(axis=0)))
    turn = left @ right
    kept = np.diag(turn.T @ np.diag(basis.kept) @ turn)
    return replace(basis, axes=turn.T @ basis.axes, kept=(float(kept[0]), float(kept[1])))
