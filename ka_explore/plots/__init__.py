"""Pictures of results: one function a shape, drawn on axes that are handed in or made; no global style is set.

`draw` takes any result. `figure_for` makes a figure of a size that fits a paper's column, a page or a projector; type
grows with the figure. `draw_steps`, `draw_comparison`, `draw_history` and `draw_terms` put several things into one
picture; `save` and `save_film` write files.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ka_explore.errors import InputError, checked
from ka_explore.plots.bars import draw_distribution, draw_scalars
from ka_explore.plots.boxes import draw_diagram, natural_size
from ka_explore.plots.comparing import draw_comparison, panels
from ka_explore.plots.heat import draw_matrix
from ka_explore.plots.history import draw_history, draw_terms, smooth
from ka_explore.plots.lines import draw_curves
from ka_explore.plots.saving import replacing, save, save_film
from ka_explore.plots.scatter import draw_points, draw_steps
from ka_explore.plots.style import (
    DASHES,
    MARKERS,
    STUDENT,
    TEACHERS,
    class_colours,
    colour_of,
    label_colours,
    marker_of,
    plain,
)
from ka_explore.probes.results import Curves, Diagram, Distribution, Matrix, Points, Result, Scalars

__all__ = [
    "DASHES",
    "MARKERS",
    "STUDENT",
    "TEACHERS",
    "class_colours",
    "colour_of",
    "label_colours",
    "marker_of",
    "plain",
]
__all__ += ["draw", "draw_curves", "draw_diagram", "draw_distribution", "draw_matrix", "draw_points", "draw_scalars"]
__all__ += ["draw_comparison", "draw_history", "draw_steps", "draw_terms", "figure_for", "smooth"]
__all__ += ["plain", "replacing", "save", "save_film"]

# Width of the figure, height of a row of pictures (both in inches), and how many stand in a row at most.
SIZES = {"column": (3.3, 2.6, 1), "page": (6.9, 3.0, 2), "projector": (10.0, 5.6, 3)}


@singledispatch
def draw(result: Any, ax: Axes | None = None, **options: Any) -> Axes:  # noqa: ARG001 - the shapes' functions take them
    """Draw a result on axes (new ones by default) and return them; options are those of the shape's own function."""
    raise InputError(
        f"cannot draw a {type(result).__name__}: expected Scalars, Matrix, Points, Distribution, Curves or Diagram."
    )


draw.register(Scalars, draw_scalars)
draw.register(Matrix, draw_matrix)
draw.register(Points, draw_points)
draw.register(Distribution, draw_distribution)
draw.register(Curves, draw_curves)
draw.register(Diagram, draw_diagram)


@checked
def figure_for(results: Result | Sequence[Result], size: Literal["column", "page", "projector"] = "page") -> Figure:
    """Results drawn in a figure whose size and type fit where it is shown.

    The ``size`` is ``column`` (3.3 inches wide), ``page`` (6.9) or ``projector`` (10 × 5.6, one slide).

    Raises InputError for no result or another size.
    """
    shown = list(results) if isinstance(results, Sequence) else [results]
    if not shown:
        raise InputError("nothing to draw: give at least one result.")
    width, height, most = SIZES[size]
    total = height if size == "projector" else height * -(-len(shown) // most)
    if len(shown) == 1 and isinstance(shown[0], Diagram) and size != "projector":
        width, total = natural_size(shown[0], width=width)
    figure, axes = panels(Figure(figsize=(width, total), layout="constrained"), len(shown), most=most)
    for ax, result in zip(axes, shown, strict=True):
        draw(result, ax)
    return figure
