"""Results as pictures of a page, SVG where it is small, PNG elsewhere, and as tables; lines for what is not there."""

import io
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ka_explore.plots import draw, draw_curves
from ka_explore.probes.results import Curves, Matrix, Result, Scalars, heading
from ka_explore.report.parts import Picture, Table, Words, missing
from ka_explore.report.run_report import KEEP, RunReport

LARGEST_SVG = 90_000  # bytes; beyond that a PNG is smaller and faster to draw
WIDTH = 8.0  # inches of the whole column
HEIGHT = 3.4
DPI = 150

Drawn = Result | Callable[[Axes], Any]


def picture(
    name: str, drawn: Drawn | Sequence[Drawn], caption: str = "", *, width: float = WIDTH, height: float = HEIGHT
) -> Picture:
    """One or several results, or what functions draw on axes, at most two in a row, whose size is in inches."""
    several = list(drawn) if isinstance(drawn, Sequence) else [drawn]
    columns = min(len(several), 2)
    rows = -(-len(several) // columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    for one, ax in zip_longest(several, figure.subplots(rows, columns, squeeze=False).flat):
        if one is None:
            ax.remove()
        elif callable(one):
            one(ax)
        else:
            draw(one, ax)
    return printed(name, figure, caption)


def height_of(matrix: Matrix, *, least: float = 2.5) -> float:
    """Inches in which the rows of a matrix can be read."""
    return min(max(1.3 + 0.3 * len(matrix.rows), least), 7.0)


def printed(name: str, figure: Figure, caption: str = "") -> Picture:
    """A figure as a picture of a page; the same bytes for the same figure."""
    width = min(round(110 * figure.get_figwidth()), 1000)
    style: Any = {"svg.hashsalt": "ka_explore", "svg.fonttype": "path"}  # letters as outlines: no font is needed
    with rc_context(style):
        svg = io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "ka_explore"})
    if len(svg.getvalue()) <= LARGEST_SVG:
        return Picture(name, svg.getvalue(), "svg", caption, width)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": "ka_explore"})
    return Picture(name, png.getvalue(), "png", caption, width)


def drawn(name: str, result: Result) -> Picture:
    """A result in a size that suits it."""
    width, height = WIDTH, 3.2
    if isinstance(result, Scalars):
        height = min(max(1.1 + 0.32 * len(result.values), 1.8), 6.0)
    if isinstance(result, Matrix):
        width, height = min(max(3.6 + 0.8 * len(result.columns), 5.0), 8.0), height_of(result)
    return picture(name, result, width=width, height=height)


def square(name: str, result: Matrix) -> Picture:
    """A matrix of as many rows as columns."""
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
        head, rows = [heading(result), result.unit or "value", *head[3:]], [[*row[:2], *row[3:]] for row in rows]
        rows += [[name, level, *[float("nan")] * len(head[2:])] for name, level in result.levels.items()]
    return Table(head, [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows])


def number(value: float) -> str:
    """Three digits; a dash for none."""
    return f"{value:.3g}" if np.isfinite(value) else "–"
