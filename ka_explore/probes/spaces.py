"""Which arrays of a snapshot can be drawn, and their rows net by net, as pictures and distances see them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from ka_explore.errors import InputError, checked, short
from ka_explore.probes.probe import space_was_of
from ka_explore.probes.results import Points
from ka_explore.run.snapshot import Snapshot

CHUNK = 8192  # rows handled at a time in float64

Space = Float[np.ndarray, "point feature"]
Plane = Float[np.ndarray, "point 2"]


@checked
def spaces(snapshot: Snapshot) -> tuple[str, ...]:
    """What can be drawn of this snapshot: names for ``space``.

    ``common``: all nets in the common space; ``feature``: the last layer of every net, where these are of one width;
    ``feature/<net>/<layer>``: one net alone; ``code/<layer>``: the teachers' code, and what the student makes of it;
    ``logits``, ``logits/<net>`` and ``scores``.
    """
    names = [name for name, array in snapshot.arrays.items() if array.ndim == 2]
    kinds = {name.split("/")[0] for name in snapshot.arrays if "/" in name}
    found = ["common"] if any(name.startswith("common/") for name in names) else []
    for whole in sorted(kinds & {"feature", "logits"}):
        widths = [a.shape[1] for a in members(snapshot, whole).values()]
        found += [whole] if len(widths) > 1 and len(set(widths)) == 1 else []
    for prefix in ("feature/", "code/", "logits/", "scores"):
        found += [name for name in names if name.startswith(prefix)]
    return tuple(found)


def name_of(space: str) -> str:
    """What a space is called in titles."""
    return "common space" if space == "common" else space


def members(snapshot: Snapshot, space: str) -> dict[str, np.ndarray]:
    """The arrays that make a picture, by net.

    Raises InputError that lists what can be drawn when there are none.
    """
    arrays = snapshot.arrays
    if space in arrays:
        kind, _, rest = space.partition("/")
        if kind == "code":
            regressed = arrays.get(f"regressed/{rest}")
            same = regressed is not None and regressed.shape == arrays[space].shape
            return {"code": arrays[space]} | ({"student": arrays[f"regressed/{rest}"]} if same else {})
        return {rest.split("/")[0] if kind in ("feature", "common", "logits") else space: arrays[space]}
    if not any(name.startswith(space + "/") for name in arrays):
        there, what = ", ".join(spaces(snapshot)) or "(nothing)", f"this snapshot (stage {snapshot.stage!r})"
        raise InputError(f"{what} has no {short(space)}/…: what can be drawn of it is {there}.")
    group = snapshot.group(space)
    if space == "feature":  # in the order of the net: what comes later replaces what was before
        return {name.split("/")[0]: array for name, array in group.items()}
    return group


@space_was_of
@checked
def rows_of(snapshot: Snapshot, space: str = "common", normalise: bool = True) -> dict[str, np.ndarray]:
    """Each net's rows, L2-normalised as the MMD sees them; values that are not finite count as zero.

    ``space`` is one of `spaces`, or any other prefix of arrays of one width. Raises InputError when there are no such
    arrays, or they are of different widths.
    """
    width_of(snapshot, space)
    return {net: cleaned(array, normalise) for net, array in members(snapshot, space).items()}


def width_of(snapshot: Snapshot, space: str) -> int:
    """How wide the rows of a space are. Raises InputError as `rows_of` does."""
    found = members(snapshot, space)
    if any(array.ndim != 2 for array in found.values()):
        there = ", ".join(spaces(snapshot))
        raise InputError(f"{space} holds one number a sample, not rows: what can be drawn is {there}.")
    widths = {array.shape[1] for array in found.values()}
    if len(widths) > 1:
        why = f"{space}/… have different widths {sorted(widths)}: only nets in one space make one picture."
        raise InputError(f"{why} What can be drawn: {', '.join(spaces(snapshot))}.")
    return int(widths.pop())


def cleaned(array: Float[np.ndarray, "sample feature"], normalise: bool) -> Float[np.ndarray, "sample feature"]:
    """Finite rows, of length 1 or 0 if asked: in the array's own precision, float32 at least."""
    rows = np.empty(array.shape, np.float64 if array.dtype == np.float64 else np.float32)
    for start in range(0, len(array), CHUNK):
        part = np.nan_to_num(array[start : start + CHUNK].astype(np.float64), posinf=0.0, neginf=0.0)
        if normalise:
            with np.errstate(over="ignore"):  # a length beyond float64 makes a row of zeros
                part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
        rows[start : start + CHUNK] = part
    return rows


@dataclass(frozen=True)
class Rows:
    """The rows of all nets in one space: what a picture is drawn of, and no more (no labels). Fields as of `Points`."""

    values: Space
    group: Int64[np.ndarray, "point"]
    groups: tuple[str, ...]
    sample: Int64[np.ndarray, "point"]

    @property
    def parts(self) -> list[Float[np.ndarray, "sample feature"]]:
        """The rows of each net."""
        return [self.values[self.group == index] for index in range(len(self.groups))]

    def drawn(self, xy: Plane, **words: Any) -> Points:
        """A picture of these rows, their points at these positions."""
        return Points(xy, self.group, self.groups, self.sample, **words)


def rows_together(snapshot: Snapshot, space: str) -> Rows:
    """`rows_of` one after the other."""
    rows = rows_of(snapshot, space)
    count = len(snapshot.index)
    group, sample = np.repeat(np.arange(len(rows)), count), np.tile(np.arange(count), len(rows))
    return Rows(np.concatenate(list(rows.values())), group, tuple(rows), sample)


def class_labels(snapshot: Snapshot, task: str | None = None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The class of every sample in a task, by default the first that has labels, and the names of the classes."""
    for name, y in (snapshot.labels or {}).items():
        if task is None or name == task:
            return y, tuple(label for t, label in snapshot.classes if t == name)
    return None, ()
