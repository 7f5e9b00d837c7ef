"""Results of several runs in one figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ka_explore.errors import InputError, checked
from ka_explore.plots import style
from ka_explore.plots.bars import draw_distribution, edges_of
from ka_explore.plots.boxes import draw_diagram
from ka_explore.plots.heat import draw_matrix
from ka_explore.plots.lines import draw_curves
from ka_explore.plots.scatter import draw_steps
from ka_explore.probes.results import Curves, Diagram, Distribution, Matrix, Points, Result, Scalars, heading

MOST = 3  # axes beside one another


def run_colour(index: int) -> str:
    """The colour of a run by its index among those compared."""
    return style.RUNS[index % len(style.RUNS)]


@checked
def draw_comparison(results: Mapping[str, Result], figure: style.Empty = None) -> Figure:
    """The same result of several runs in one figure.

    Numbers: a row a name, a dot a run. Matrices: side by side on one scale, and the difference where there are two.
    Points: side by side with the same limits. Curves: a panel a line, a line a run. Samples: a panel a group.

    An empty figure may be handed in; by default it is a new one of fitting size.

    Raises InputError for no result or results of different shapes.
    """
    kinds = {type(result) for result in results.values()}
    if len(kinds) != 1:
        found = ", ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
        raise InputError(f"a comparison needs results of one shape, got {found}.")
    (kind,) = kinds
    if kind not in COMPARISONS:
        raise InputError("can compare Scalars, Matrix, Points, Distribution, Curves and Diagram.")
    figure = COMPARISONS[kind](results, figure)
    title = heading(*results.values())
    if next(iter(results.values())).title and kind not in (Scalars, Diagram):  # their axes say it
        figure.suptitle(style.plain(title), fontsize=1.2 * style.type_of(figure.axes[0]))
    return figure


def panels(
    figure: Figure | None, count: int, *, most: int = MOST, wide: float = 3.6, tall: float = 3.2
) -> tuple[Figure, list[Any]]:
    """A figure with so many axes, at most so many beside one another."""
    columns = min(count, most)
    rows = -(-count // columns)
    if figure is None:
        figure = Figure(figsize=(wide * columns + 1.0, tall * rows), layout="constrained")
    grid = style.laid_out(figure).subplots(rows, columns, squeeze=False)
    for spare in list(grid.flat)[count:]:
        spare.remove()
    return figure, list(grid.flat)[:count]


def compare_scalars(results: Mapping[str, Scalars], figure: Figure | None) -> Figure:
    """A row a name, a dot a run."""
    names = names_of([result.values for result in results.values()])
    figure, (ax,) = panels(figure, 1, wide=5.5, tall=1.4 + 0.3 * max(len(names), 3))
    size, (width, _) = style.type_of(ax), style.room_of(ax)
    handles, markers = [], cycle(("o", *style.MARKERS))
    for index, (run, result, marker) in enumerate(zip(results, results.values(), markers, strict=False)):
        offset = (index - (len(results) - 1) / 2) * min(0.18, 0.7 / len(results))
        handles += ax.plot(
            [result.values.get(name, np.nan) for name in names],
            [i + offset for i in range(len(names))],
            marker=marker, ls="", color=run_colour(index), ms=0.7 * size, label=style.plain(run), mew=0,
        )  # fmt: skip
    for i in range(len(names)):
        ax.axhline(i, color="#dddddd", lw=0.08 * size, zorder=0)
    ax.set_yticks(range(len(names)), [style.shortened(style.plain(name), 0.35 * width, 0.85 * size) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    first = next(iter(results.values()))
    style.dress(ax, title=first.title, x=first.unit, framed=False)
    style.beside(ax, handles)
    return figure


def compare_matrices(results: Mapping[str, Matrix], figure: Figure | None) -> Figure:
    """Side by side with one scale of colours; of two that have the same names also the difference."""
    first, *others = results.values()
    alike = all((other.rows, other.columns) == (first.rows, first.columns) for other in others)
    values = style.finite(matrix.values for matrix in results.values())
    limits = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    figure, axes = panels(figure, len(results) + (len(results) == 2 and alike))
    for ax, (run, matrix) in zip(axes, results.items(), strict=False):
        draw_matrix(replace(matrix, title=run), ax, limits=limits, bar=run == list(results)[-1])
    if len(axes) > len(results):
        (one, a), (two, b) = results.items()
        change = replace(a, values=b.values - a.values, title=f"{two} − {one}", centre=0.0, note="")
        draw_matrix(change, axes[-1])
    return figure


def compare_curves(results: Mapping[str, Curves], figure: Figure | None) -> Figure:
    """A panel a line, a line a run."""
    names = names_of([result.x for result in results.values()])
    figure, axes = panels(figure, max(len(names), 1))
    colours = {run: run_colour(i) for i, run in enumerate(results)}
    for ax, name in zip(axes, names, strict=False):
        having = {run: result for run, result in results.items() if name in result.x}
        marks: dict[str, float] = {}
        for run, result in having.items():
            marks |= {m if marks.get(m, x) == x else f"{m} ({run})": x for m, x in result.marks.items()}
        curves = replace(
            next(iter(results.values())),
            x={run: result.x[name] for run, result in having.items()},
            y={run: result.y[name] for run, result in having.items()},
            title=name,
            marks=marks,
        )
        draw_curves(curves, ax, colours=colours, legend=name == names[:MOST][-1])
    return figure


def compare_distributions(results: Mapping[str, Distribution], figure: Figure | None) -> Figure:
    """A panel a group with the same bins, an outline a run."""
    names = names_of([result.values for result in results.values()])
    figure, axes = panels(figure, max(len(names), 1))
    edges = edges_of(values for result in results.values() for values in result.values.values())
    first = next(iter(results.values()))
    colours = {run: run_colour(i) for i, run in enumerate(results)}
    for ax, name in zip(axes, names, strict=False):
        having = {run: result.values[name] for run, result in results.items() if name in result.values}
        shown = replace(first, values=having, title=name)
        draw_distribution(shown, ax, edges=edges, colours=colours, legend=False)
        if name == names[:MOST][-1]:
            w, lines = 0.16 * style.type_of(ax), zip(results, cycle(style.DASHES), strict=False)
            style.beside(ax, [Line2D([], [], color=colours[r], ls=ls, lw=w, label=style.plain(r)) for r, ls in lines])
    return figure


def compare_diagrams(results: Mapping[str, Diagram], figure: Figure | None) -> Figure:
    """One under the other."""
    figure, axes = panels(figure, len(results), most=1, wide=9, tall=4.2)
    for ax, (run, result) in zip(axes, results.items(), strict=True):
        draw_diagram(replace(result, title=f"{run}: {result.title}"), ax)
    return figure


def names_of(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """All names, in the order they first appear."""
    return list(dict.fromkeys(name for part in parts for name in part))


COMPARISONS: dict[type, Callable[[Any, Figure | None], Figure]] = {
    Scalars: compare_scalars,
    Matrix: compare_matrices,
    Points: draw_steps,
    Curves: compare_curves,
    Distribution: compare_distributions,
    Diagram: compare_diagrams,
}
