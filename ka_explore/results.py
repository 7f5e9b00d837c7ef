"""What a probe may return: four shapes, each with one plot in `ka_explore.plots` and one table.

numpy only; `frame` brings pandas when it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    """A table of numbers of one unit, (row, column)."""

    values: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    unit: str = ""
    title: str = ""

    def frame(self) -> "pandas.DataFrame":
        """The table with its names."""
        import pandas

        return pandas.DataFrame(self.values, index=list(self.rows), columns=list(self.columns))


@dataclass(frozen=True)
class Points:
    """Samples in the plane, in groups (nets), perhaps with a class.

    Attributes:
        xy: (point, 2).
        group: index into ``groups``, a point.
        groups: names; ``student`` among them keeps its look everywhere.
        sample: which sample of the snapshot, a point.
        label: class index a point, -1 where unknown; None without classes.
        labels: names of the classes.
        axes: what the two axes are, with their units.
        note: how far the picture can be trusted, in words.
    """

    xy: np.ndarray
    group: np.ndarray
    groups: tuple[str, ...]
    sample: np.ndarray
    label: np.ndarray | None = None
    labels: tuple[str, ...] = ()
    axes: tuple[str, str] = ("", "")
    title: str = ""
    note: str = ""

    def frame(self) -> "pandas.DataFrame":
        """One row a point."""
        import pandas

        data = {
            "x": self.xy[:, 0],
            "y": self.xy[:, 1],
            "net": [self.groups[g] for g in self.group],
            "sample": self.sample,
        }
        if self.label is not None:
            data["class"] = [self.labels[i] if i >= 0 else None for i in self.label]
        return pandas.DataFrame(data)


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


Result = Scalars | Matrix | Points | Distribution
