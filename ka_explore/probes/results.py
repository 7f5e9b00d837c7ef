"""What a probe may return: a few shapes, each with one plot in `ka_explore.plots` and one table.

numpy only; `frame` brings pandas when it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Scalars:
    """Named numbers of one unit.

    Attributes:
        values: by name.
        unit: of every value; empty for a share or a count.
        title: what they are.
    """

    values: Mapping[str, float]
    unit: str = ""
    title: str = ""

    def frame(self) -> "pandas.DataFrame":
        """One row a number."""
        import pandas

        return pandas.DataFrame({"name": list(self.values), "value": list(self.values.values()), "unit": self.unit})


@dataclass(frozen=True)
class Matrix:
    """A table of numbers of one unit.

    Attributes:
        values: (row, column); NaN where there is none.
        rows: their names.
        columns: their names.
        unit: of every value; empty for a share or a count.
        title: what they are.
        centre: the value that means "no difference", for numbers on both sides of one; None where there is none.
        note: what a reader must know to read it, in words.
    """

    values: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    unit: str = ""
    title: str = ""
    centre: float | None = None
    note: str = ""

    def frame(self) -> "pandas.DataFrame":
        """The table with its names."""
        import pandas

        return pandas.DataFrame(self.values, index=list(self.rows), columns=list(self.columns))


@dataclass(frozen=True)
class Points:
    """Samples in the plane, in groups (nets), coloured by what they are or by a number.

    Attributes:
        xy: (point, 2).
        group: index into ``groups``, a point.
        groups: names; ``student`` among them keeps its look everywhere.
        sample: which sample of the snapshot, a point.
        label: index into ``labels``, a point, -1 where unknown; None to colour by net.
        labels: names of what is coloured: classes, teachers, …
        legend: what the labels are: ``class``, ``teacher``, …
        value: a number a point to colour by instead; NaN where there is none.
        unit: of ``value``, and what it is.
        pairs: (pair, 2): which points are of one image and may be joined by a line; empty for none.
        quality: how far the picture can be trusted, by name, 1 is best (``trustworthiness``, …).
        axes: what the two axes are, with their units.
        title: what is shown.
        note: how far the picture can be trusted, in words.
    """

    xy: np.ndarray
    group: np.ndarray
    groups: tuple[str, ...]
    sample: np.ndarray
    label: np.ndarray | None = None
    labels: tuple[str, ...] = ()
    legend: str = "class"
    value: np.ndarray | None = None
    unit: str = ""
    pairs: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    quality: Mapping[str, float] = field(default_factory=dict)
    axes: tuple[str, str] = ("", "")
    title: str = ""
    note: str = ""

    def frame(self) -> "pandas.DataFrame":
        """One row a point."""
        import pandas

        data: dict[str, Any] = {
            "x": self.xy[:, 0],
            "y": self.xy[:, 1],
            "net": [self.groups[g] for g in self.group],
            "sample": self.sample,
        }
        if self.label is not None:
            data[self.legend] = [self.labels[i] if i >= 0 else None for i in self.label]
        if self.value is not None:
            data[self.unit or "value"] = self.value
        return pandas.DataFrame(data)


@dataclass(frozen=True)
class Curves:
    """Lines of one unit over one quantity: over steps, bandwidths, confidences.

    Attributes:
        x: by line.
        y: by line, as long as its x; NaN where there is none.
        across: what x is, with its unit.
        unit: of y.
        title: what they are.
        levels: values of y worth marking, by name: a floor, chance, "no better than the mean".
        marks: places on x worth marking, by name: where a stage begins, where a run was forked.
        log: whether x, y are better on a log axis.
        note: what a reader must know to read it, in words.
    """

    x: Mapping[str, np.ndarray]
    y: Mapping[str, np.ndarray]
    across: str = "step"
    unit: str = ""
    title: str = ""
    levels: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)
    log: tuple[bool, bool] = (False, False)
    note: str = ""

    def frame(self) -> "pandas.DataFrame":
        """One row a point of a line."""
        import pandas

        parts = [pandas.DataFrame({"line": name, self.across: self.x[name], "value": self.y[name]}) for name in self.x]
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame({"line": [], "value": []})


@dataclass(frozen=True)
class Box:
    """A part of an amalgamation: a net, a module, a loss.

    Attributes:
        name: shown, and what arrows refer to.
        kind: what it is.
        state: ``frozen`` for good, ``trains`` in the stage at hand, or ``waits`` (trains in another stage).
        text: what else there is to say: widths, parameters, a weight.
        teacher: whose colour it has; empty for none.
    """

    name: str
    kind: Literal["images", "teacher", "student", "module", "loss"]
    state: Literal["frozen", "trains", "waits"] = "frozen"
    text: str = ""
    teacher: str = ""


@dataclass(frozen=True)
class Diagram:
    """An amalgamation as boxes and arrows.

    Attributes:
        boxes: from early to late.
        arrows: (from, to, what flows) by the boxes' names; they make no circle.
        title: the method and the stage.
    """

    boxes: tuple[Box, ...]
    arrows: tuple[tuple[str, str, str], ...]
    title: str = ""

    def frame(self) -> "pandas.DataFrame":
        """One row a box."""
        import pandas

        return pandas.DataFrame(
            [{"name": b.name, "kind": b.kind, "state": b.state, "text": b.text} for b in self.boxes]
        )


@dataclass(frozen=True)
class Distribution:
    """Samples of one unit in named groups, as for a histogram."""

    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    unit: str = ""
    title: str = ""

    def frame(self) -> "pandas.DataFrame":
        """One row a value."""
        import pandas

        parts = [pandas.DataFrame({"group": name, "value": values}) for name, values in self.values.items()]
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame({"group": [], "value": []})


Result = Scalars | Matrix | Points | Distribution | Curves | Diagram
