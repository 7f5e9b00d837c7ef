"""What sections of a report share: pictures and tables of results, and lines for what is not there."""

from collections.abc import Callable

import numpy as np

from ka_explore.plots import draw_curves
from ka_explore.probes.results import Curves, Matrix, Result, Scalars, heading
from ka_explore.report.figures import height_of, picture
from ka_explore.report.parts import Picture, Table, Words, missing
from ka_explore.report.run_report import KEEP, RunReport


def drawn(name: str, result: Result, caption: str = "") -> Picture:
    """A result in a size that suits it."""
    height = height_of(result) if isinstance(result, Matrix) else 3.2
    if isinstance(result, Scalars):
        height = min(max(1.1 + 0.32 * len(result.values), 1.8), 6.0)
    width = min(max(3.6 + 0.8 * len(result.columns), 5.0), 8.0) if isinstance(result, Matrix) else 8.0
    return picture(name, result, caption, width=width, height=height)


def square(name: str, result: Result) -> Picture:
    """A matrix of as many rows as columns."""
    assert isinstance(result, Matrix)
    side = min(2.2 + 0.34 * len(result.rows), 6.5)
    return picture(name, result, width=min(side + 2.6, 8.0), height=side)


def absent(run_report: RunReport, what: str, who: str) -> Words:
    """A line that says why a section is empty and who would fill it."""
    return missing(f"The method {run_report.run.store.about['method']} {what}; {who}.")


def lone() -> Words:
    """A line for one snapshot where there should be several."""
    return missing(f"There is only one snapshot, so there are no lines over the steps. {KEEP}")


def coloured(run_report: RunReport, curves: Curves) -> Callable[..., object]:
    """Curves drawn in the nets' colours, where lines are called as nets."""
    return lambda ax: draw_curves(curves, ax, nets=run_report.nets)


def table_of(result: Result) -> Table:
    """A result as a table."""
    head, rows = result.table()
    if isinstance(result, Scalars):
        head, rows = [heading(result), result.unit or "value"], [row[:2] for row in rows]
    return Table(head, [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows])


def number(value: float) -> str:
    """Three digits; a dash for none."""
    return f"{value:.3g}" if np.isfinite(value) else "–"
