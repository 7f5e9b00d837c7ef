"""Results as pictures of a page: SVG where it is small, PNG elsewhere."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ka_explore.plots import draw
from ka_explore.probes.results import Matrix, Result
from ka_explore.report.parts import Picture

LARGEST_SVG = 90_000  # bytes; beyond that a PNG is smaller and faster to draw
WIDTH = 8.0  # inches of the whole column
HEIGHT = 3.4
DPI = 150

Drawn = Result | Callable[[Axes], Any]


def picture(
    name: str, drawn: Drawn | Sequence[Drawn], caption: str = "", *, width: float = WIDTH, height: float = HEIGHT
) -> Picture:
    """One or several results side by side, at most two in a row.

    Args:
        name: what is shown.
        drawn: results, or functions that draw on axes.
        caption: how to read it.
        width: in inches, of a row.
        height: in inches, of a row.
    """
    several = list(drawn) if isinstance(drawn, Sequence) else [drawn]
    columns = min(len(several), 2)
    rows = -(-len(several) // columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for index, ax in enumerate(grid.flat):
        if index >= len(several):
            ax.remove()
        elif callable(several[index]):
            several[index](ax)  # type: ignore[operator]
        else:
            draw(several[index], ax)
    return printed(name, figure, caption)


def height_of(matrix: Matrix, *, least: float = 2.5, most: float = 7.0) -> float:
    """Inches in which the rows of a matrix can be read."""
    return min(max(1.3 + 0.3 * len(matrix.rows), least), most)


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
