"""What a probe may return: a few shapes, each with one plot in `ka_explore.plots` and one table.

numpy only; `to_pandas` brings pandas when it is asked for.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from ka_explore.errors import InputError, Number, brief, checked

if TYPE_CHECKING:
    import pandas

Table = tuple[list[str], list[list[Any]]]
"""A head, and rows of plain values as long as it."""

Numbers = Annotated[np.ndarray, "or whatever numpy makes one of"]
"""An array of numbers, NaN where there is none; a list is made one."""

POINTS = 64  # of a curve at most, to be a row of numbers
ERROR = "standard error"


class Tabular(ABC):
    """What can be had as a table."""

    @abstractmethod
    def to_pandas(self) -> "pandas.DataFrame":
        """The numbers as a table of pandas."""

    def frame(self) -> "pandas.DataFrame":
        """`to_pandas` by its old name."""
        warnings.warn("frame() is to_pandas() since version 0.2.", FutureWarning, stacklevel=2)
        return self.to_pandas()


@dataclass(frozen=True, kw_only=True)
class Shape(Tabular):
    """What every shape has; all but a Diagram, which is a step and a title, have a unit and a note as well.

    Attributes:
        step: of the snapshot that was asked; None for what is of no step, or of several.
        title: what is shown.
        unit: of every value; empty for a share or a count.
        note: what a reader must know to read it, in words; of Scalars and a Distribution it stands behind the title.
    """

    step: int | None = None

    @abstractmethod
    def table(self) -> Table:
        """What is drawn, as a head and rows: the one place where a result becomes a table."""

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows of the table as one of pandas."""
        import pandas

        head, rows = self.table()
        if isinstance(self, (Curves, Distribution)):
            head[-1] = "value"
        return pandas.DataFrame(rows, columns=head)


@checked
@dataclass(frozen=True)
class Scalars(Shape):
    """Named numbers of one unit.

    Attributes:
        spread: the standard error of each, by name; empty where none is known.
        levels: values worth marking, by name, as of Curves: chance, a floor.
    """

    values: Mapping[str, Number]
    unit: str = ""
    title: str = ""
    note: str = ""
    spread: Mapping[str, Number] = field(default_factory=dict)
    levels: Mapping[str, Number] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.spread and self.spread.keys() != self.values.keys():
            raise InputError(f"values has {list(self.values)}, spread {list(self.spread)}: expected the same.")
        if any(error < 0 for error in self.spread.values()):
            raise InputError("spread: a standard error is not below zero.")

    def table(self) -> Table:
        """One row a number."""
        head, rows = ["name", "value", "unit"], [[name, float(v), self.unit] for name, v in self.values.items()]
        if self.spread:
            return [*head, ERROR], [
                [*row, float(self.spread[name])] for name, row in zip(self.values, rows, strict=True)
            ]
        return head, rows


@checked
@dataclass(frozen=True)
class Matrix(Shape):
    """A table of numbers of one unit.

    Attributes:
        values: (row, column); NaN where there is none.
        rows: their names.
        columns: their names.
        centre: the value that means "no difference", for numbers on both sides of one; None where there is none.
    """

    values: Numbers
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    unit: str = ""
    title: str = ""
    centre: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        values = as_numbers("values", self.values, (len(self.rows), len(self.columns)))
        object.__setattr__(self, "values", values)

    def table(self) -> Table:
        """One row a row."""
        named = zip(self.rows, np.asarray(self.values).tolist(), strict=True)
        return ["", *self.columns], [[name, *values] for name, values in named]

    def to_pandas(self) -> "pandas.DataFrame":
        """The table with its names."""
        import pandas

        return pandas.DataFrame(self.values, index=list(self.rows), columns=list(self.columns))


@checked
@dataclass(frozen=True)
class Points(Shape):
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
        note: how far the picture can be trusted, in words.
        own_axes: whether the axes are this picture's own, so that pictures beside it have others.
        own: the same points on axes of their own; None where ``xy`` is all there is.
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
    quality: Mapping[str, Number] = field(default_factory=dict)
    axes: tuple[str, str] = ("", "")
    title: str = ""
    note: str = ""
    own_axes: bool = False
    own: "Points | None" = None

    def __post_init__(self) -> None:
        count = self.group.size
        as_numbers("xy", self.xy, (count, 2))
        places: dict[str, tuple[int, int | None]] = {"group": (0, len(self.groups)), "sample": (0, None)}
        places |= {"label": (-1, len(self.labels) or None), "pairs": (0, count)}
        for what, (least, below) in places.items():
            if (given := getattr(self, what)) is not None:
                shape = (given.size // 2, 2) if what == "pairs" else (count,)
                object.__setattr__(self, what, as_places(what, given, shape, least, below))
        if self.value is not None:
            as_numbers("value", self.value, (count,))
        if self.own is not None:
            as_numbers("xy of own", self.own.xy, (count, 2))

    def on_own_axes(self) -> "Points":
        """The same picture on axes of its own, coloured and joined as this one; itself where it is on such axes."""
        if self.own is None:
            return self
        placed = {name: getattr(self.own, name) for name in ("xy", "quality", "axes", "note", "own_axes")}
        return replace(self, own=None, **placed)

    def table(self) -> Table:
        """One row a point."""
        columns = {"x": self.xy[:, 0].tolist(), "y": self.xy[:, 1].tolist()}
        columns |= {"net": [self.groups[g] for g in self.group], "sample": self.sample.tolist()}
        if self.label is not None and self.labels:
            columns[self.legend] = [self.labels[i] if i >= 0 else None for i in self.label]
        if self.value is not None:
            columns[self.unit or "value"] = self.value.tolist()
        return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


@checked
@dataclass(frozen=True)
class Curves(Shape):
    """Lines of one unit over one quantity: over steps, bandwidths, confidences.

    Attributes:
        x: by line.
        y: by line, as long as its x; NaN where there is none.
        across: what x is, with its unit.
        levels: values of y worth marking, by name: a floor, chance, "no better than the mean".
        marks: places on x worth marking, by name: where a stage begins, where a run was forked.
        log: whether x, y are better on a log axis.
    """

    x: Mapping[str, Numbers]
    y: Mapping[str, Numbers]
    across: str = "step"
    unit: str = ""
    title: str = ""
    levels: Mapping[str, Number] = field(default_factory=dict)
    marks: Mapping[str, Number] = field(default_factory=dict)
    log: tuple[bool, bool] = (False, False)
    note: str = ""

    def __post_init__(self) -> None:
        if self.x.keys() != self.y.keys():
            raise InputError(f"x has the lines {list(self.x)}, y {list(self.y)}: expected the same.")
        x = {name: as_numbers(f"x of {name!r}", values) for name, values in self.x.items()}
        y = {name: as_numbers(f"y of {name!r}", values, x[name].shape) for name, values in self.y.items()}
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    def table(self) -> Table:
        """One row a point of a line."""
        lines = {name: (np.asarray(x).tolist(), np.asarray(self.y[name]).tolist()) for name, x in self.x.items()}
        rows = [[name, x, y] for name, line in lines.items() for x, y in zip(*line, strict=True)]
        return ["line", self.across, self.unit or "value"], rows


@checked
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


@checked
@dataclass(frozen=True)
class Diagram(Shape):
    """An amalgamation as boxes and arrows.

    Attributes:
        boxes: from early to late.
        arrows: (from, to, what flows) by the boxes' names; they make no circle.
    """

    boxes: tuple[Box, ...]
    arrows: tuple[tuple[str, str, str], ...]
    title: str = ""

    def table(self) -> Table:
        """One row a box."""
        return ["name", "kind", "state", "text"], [[box.name, box.kind, box.state, box.text] for box in self.boxes]


@checked
@dataclass(frozen=True)
class Distribution(Shape):
    """Samples of one unit in named groups, as for a histogram."""

    values: Mapping[str, Numbers] = field(default_factory=dict)
    unit: str = ""
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        values = {name: as_numbers(f"values of {name!r}", given) for name, given in self.values.items()}
        object.__setattr__(self, "values", values)

    def table(self) -> Table:
        """One row a value."""
        rows = [[name, float(value)] for name, values in self.values.items() for value in values]
        return ["group", self.unit or "value"], rows


Result = Scalars | Matrix | Points | Distribution | Curves | Diagram


def as_numbers(what: str, given: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """An array of real numbers of this shape, by default a row. Raises InputError where it is none."""
    try:
        array = np.asarray(given)
    except Exception as error:  # any class may tell numpy what it likes of itself
        raise InputError(f"{what}: expected numbers, got {brief(given)}: {error}.") from error
    if array.dtype.kind not in "biuf" or array.shape != (shape or (array.size,)):
        wanted = f"numbers of shape {shape}" if shape else "a row of numbers"
        raise InputError(f"{what}: expected {wanted}, got {array.dtype} of shape {array.shape}.")
    return array


def as_places(what: str, given: np.ndarray, shape: tuple[int, ...], least: int, below: int | None) -> np.ndarray:
    """An array of whole numbers of a range, and of this shape. Raises InputError where it is none."""
    array = as_numbers(what, given, shape)
    with np.errstate(invalid="ignore"):  # what no whole number is equal to
        whole = array if array.dtype.kind in "iu" else array.astype(np.int64)
    if not np.array_equal(whole, array):
        raise InputError(f"{what}: expected whole numbers.")
    if array.size and (array.min() < least or (below is not None and array.max() >= below)):
        most = "on" if below is None else f"to {below - 1}"
        raise InputError(f"{what}: {array.min()} to {array.max()}, expected {least} {most}.")
    return whole


def heading(*results: Result) -> str:
    """What stands above a result: its title, the step where it is of one, and what a reader must know of numbers.

    Of several results that are shown together it is the first's title, with the step where all are of the same.
    """
    first, steps = results[0], {result.step for result in results}
    step = f", step {first.step}" if first.step is not None and len(steps) == 1 else ""
    note = f" ({first.note})" if isinstance(first, (Scalars, Distribution)) and first.note else ""
    return f"{first.title}{step}{note}"


def as_matrix(result: Result) -> Matrix | None:
    """A result in cells: numbers as one column, curves over the same few places as rows; None for other shapes."""
    if isinstance(result, Matrix):
        return result
    levels = [f"{name} = {value:.3g}" for name, value in getattr(result, "levels", {}).items()]
    if isinstance(result, Scalars):
        parts = {result.unit or "value": result.values} | ({ERROR: result.spread} if result.spread else {})
        cells = np.array([[float(part[name]) for part in parts.values()] for name in result.values])
        words = result.unit, result.title, None, "; ".join(filter(None, [*levels, result.note]))
        cells = cells.reshape(len(result.values), len(parts))
        return Matrix(cells, tuple(result.values), tuple(parts), *words, step=result.step)
    if isinstance(result, Curves) and result.x:
        first = next(iter(result.x.values()))
        if len(first) <= POINTS and all(np.array_equal(x, first) for x in result.x.values()):
            note = "; ".join(filter(None, [f"columns: {result.across}", *levels, result.note]))
            values = np.stack([np.asarray(y, float) for y in result.y.values()])
            columns = tuple(f"{x:g}" for x in first)
            return Matrix(values, tuple(result.y), columns, result.unit, result.title, None, note, step=result.step)
    return None
