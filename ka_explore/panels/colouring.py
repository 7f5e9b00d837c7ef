"""What colours the points of the points panel: a number a point, made once a frame, and what the numbers mean."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from ka_explore.errors import InputError, unknown
from ka_explore.panels.plane import Plane
from ka_explore.panels.predictions import heads_of
from ka_explore.plots import label_colours
from ka_explore.plots.style import UNKNOWN, hexadecimal
from ka_explore.probes.colouring import colour
from ka_explore.probes.logits import relative_entropy
from ka_explore.probes.results import Points
from ka_explore.run.snapshot import Snapshot

AGREEMENT = ("#0072b2", "#d55e00")  # agrees, differs
WAYS = {
    "net": "net", "teacher": "teacher that claims or teaches it", "error": "reconstruction error",
    "agreement": "agreement with the student", "entropy": "entropy of the answer",
}  # fmt: skip


class Colours:
    """The colours of all frames of a plane, one way at a time."""

    def __init__(self, by: str, plane: Plane):
        self.by = by  # one of the ways; until the first snapshot what was asked for, empty for the net
        self.ways: dict[str, str] = {}  # what there is to colour by, in words
        self._plane = plane
        self._meaning: Points | None = None  # a picture whose labels or values the numbers are

    @property
    def fixed(self) -> bool:
        """Whether colours are the same in all frames."""
        return self.by == "net" or self.by.split("/")[0] == "class"

    def begin(self, snapshot: Snapshot) -> None:
        """Everything anew, in the ways of a snapshot."""
        tasks = list(snapshot.labels or {})
        classes = {"class": "class"} if len(tasks) == 1 else {f"class/{task}": f"class: {task}" for task in tasks}
        self.ways = {"net": WAYS["net"]} | classes | WAYS
        self.change((self._class_way() or "net") if self.by == "class" else self.by or "net")

    def checked(self, by: str) -> str:
        """A way by its name, or by ``class`` for the first class, ``selected`` for the teacher.

        Raises InputError for what is not known here.
        """
        way = {"class": self._class_way(), "selected": "teacher"}.get(by, by)
        if way not in self.ways:
            raise unknown("colour", by, self.ways)
        return way

    def change(self, by: str) -> None:
        """Colour by something else."""
        self.by, self._meaning = by, None

    def tint(self, snapshot: Snapshot | None) -> Float32[np.ndarray, "point"]:
        """A number a point; NaN where there is no snapshot, or no such colour."""
        found = None if snapshot is None else coloured(snapshot, self.by, self._plane.nets, self._plane.index)
        self._meaning = found or self._meaning
        return np.full(self._plane.points, np.nan, np.float32) if found is None else numbers_of(found)

    def about(self, rows: Sequence[Float32[np.ndarray, "point"]], snapshot: Snapshot) -> dict[str, Any]:
        """What the colours of some frames mean, and those of a snapshot where they are the same in all."""
        fixed = {"tint": self.tint(snapshot)} if self.fixed else {}
        about = {"by": self.by, "ways": self.ways, "fixed": self.fixed, "kind": "net", "said": ""}
        return {"colouring": about | self._meant(rows)} | fixed

    def _meant(self, rows: Sequence[Float32[np.ndarray, "point"]]) -> dict[str, Any]:
        """What the numbers mean; empty where points are coloured by net."""
        found, way = self._meaning, self.ways.get(self.by, self.by)
        if found is None:
            return {"said": f"No {way} in this stage: coloured by net."}
        if found.value is not None:
            finite = np.concatenate([np.zeros(0, np.float32), *(row[np.isfinite(row)] for row in rows)])
            known = len(finite) and self.by != "entropy"
            low, high = map(float, np.percentile(finite, [2, 98])) if known else (0.0, 1.0)
            return {"kind": "value", "unit": found.unit, "low": low, "high": high, "legend": way}
        if found.label is not None:
            rule = "net" if found.legend == "claimed by" else found.legend
            colours = AGREEMENT if self.by == "agreement" else map(hexadecimal, label_colours(found.labels, rule))
            labels = [{"name": name, "colour": one} for name, one in zip(found.labels, colours, strict=True)]
            return {"kind": "label", "legend": found.legend, "unknown": UNKNOWN, "labels": labels}
        return {}

    def _class_way(self) -> str:
        """The first way to colour by a class; empty where no class is known."""
        return next((way for way in self.ways if way.split("/")[0] == "class"), "")


def dyed(points: Points, snapshot: Snapshot, by: str) -> Points:
    """A picture of a snapshot, coloured in a way. Raises InputError where the snapshot has not what it takes."""
    kind, _, task = by.partition("/")
    if kind != "entropy":
        return colour(points, snapshot, kind, task or None)
    heads: dict[str, list[np.ndarray]] = {}
    for net, _, _, logits in heads_of(snapshot):
        heads.setdefault(net, []).append(relative_entropy(logits))
    means = [np.mean(heads.get(net, heads["student"]), axis=0) for net in points.groups]  # over tasks
    value = np.array(means).reshape(len(means), len(snapshot.index))[points.group, points.sample]
    return replace(points, value=value, unit="entropy of the answer (1: knows nothing)")


def coloured(snapshot: Snapshot, by: str, nets: Sequence[str], index: Int64[np.ndarray, "sample"]) -> Points | None:
    """All points, net after net, all in one place, dyed; None where the snapshot has not what it takes."""
    group, sample = np.divmod(np.arange(len(nets) * len(index)), max(len(index), 1))
    with suppress(InputError):
        if np.array_equal(snapshot.index, index):
            return dyed(Points(np.zeros((len(group), 2)), group, tuple(nets), sample), snapshot, by)
    return None


def numbers_of(points: Points) -> Float32[np.ndarray, "point"]:
    """A number a point that says its colour: the index of a label (−1: unknown), a value, or NaN."""
    numbers = points.label if points.value is None else points.value
    return np.full(len(points.xy), np.nan, np.float32) if numbers is None else np.asarray(numbers, np.float32)
