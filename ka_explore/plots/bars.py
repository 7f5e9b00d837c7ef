"""Named numbers as bars, samples as histograms."""

from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ka_explore.errors import InputError, checked
from ka_explore.plots import placing, style
from ka_explore.probes.results import Distribution, Scalars, as_numbers, heading

NEUTRAL = "#7b8ba5"  # no net's


@checked
def draw_scalars(result: Scalars, ax: Axes | None = None) -> Axes:
    """Horizontal bars with their values printed; in the nets' colours where the student is among the names.

    Standard errors are thin lines, and printed behind ±; levels are lines through all bars, named below them.
    """
    ax = style.axes_of(ax)
    size, (width, height) = style.type_of(ax), style.room_of(ax)
    values, known = list(result.values.values()), list(result.values)
    small = min(0.85 * size, max(0.7 * height / max(len(values), 1) / 1.2, 3.0))
    names = [style.shortened(style.plain(name), 0.4 * width, small) for name in known]
    colours = [style.colour_of(name, known) if "student" in known else NEUTRAL for name in known]
    errors = [e if np.isfinite(e := result.spread.get(name, np.nan)) else 0.0 for name in known]
    bars = ax.barh(
        range(len(values)), values, color=colours, height=0.7,
        xerr=errors if result.spread else None, error_kw={"elinewidth": 0.09 * size, "ecolor": style.QUIET},
    )  # fmt: skip
    said = [f"{v:.3g}" if np.isfinite(v) else "–" for v in values]
    said = [f"{text} ± {error:.2g}" if error > 0 else text for text, error in zip(said, errors, strict=True)]
    ax.bar_label(bars, said, padding=0.3 * size, fontsize=small)
    ax.set_yticks(range(len(values)), names)
    ax.invert_yaxis()
    ax.margins(x=0.2)
    ax.axvline(0, color="#888888", lw=0.07 * size)
    levels = {name: level for name, level in result.levels.items() if np.isfinite(level)}
    for level, dashes in zip(levels.values(), cycle(style.LEVELS), strict=False):
        ax.axvline(level, color=style.QUIET, lw=0.09 * size, ls=dashes)
    note = ", ".join(f"{name}: {level:.3g}" for name, level in levels.items())
    style.dress(ax, title=heading(result), x=result.unit, note=note, framed=False)
    ax.tick_params(axis="y", labelsize=small, length=0)
    return placing.placed(ax)


@checked
def draw_distribution(
    result: Distribution,
    ax: Axes | None = None,
    *,
    edges: np.ndarray | None = None,
    colours: Mapping[str, str] | None = None,
    legend: bool = True,
) -> Axes:
    """A histogram a group, outlines only, so that groups stay apart; medians as short marks, and in the legend.

    The edges are of the bins, by default 30 over all finite values; colours are given by group, where they stand for
    something else than nets. Raises InputError for edges that do not rise, or a colour that is none.
    """
    ax = style.axes_of(ax)
    size, (width, _) = style.type_of(ax), style.room_of(ax)
    edges = edges_of(result.values.values()) if edges is None else rising(edges)
    style.check_colours(colours)
    handles: list[Any] = []
    for (name, given), dashes in zip(result.values.items(), cycle(style.DASHES), strict=False):
        values = style.finite([given])
        colour = (colours or {}).get(name) or style.colour_of(name, list(result.values))
        said = f"median {np.median(values):.2g}" if len(values) else "no finite value"
        look: Any = {"color": colour, "linestyle": dashes, "linewidth": 0.16 * size}
        ax.hist(values, bins=edges.tolist(), histtype="step", label=style.plain(f"{name} ({said})"), **look)
        if len(values):
            ax.plot(
                [np.median(values)], [0.02], marker=6, ms=0.6 * size, color=colour, clip_on=False,
                transform=ax.get_xaxis_transform(), zorder=4,
            )  # fmt: skip
        short = style.shortened(style.plain(name), 0.25 * width, 0.8 * size)
        label = f"{short}\n({style.wrapped(said, 0.3 * width, 6)})"
        handles.append(Line2D([], [], label=label, **look))
    style.dress(ax, title=heading(result), x=result.unit, y="samples", framed=False)
    if handles and legend:
        style.beside(ax, handles)
    return placing.placed(ax)


def rising(edges: np.ndarray) -> np.ndarray:
    """Edges of bins. Raises InputError unless they rise."""
    rise = as_numbers("edges", edges)
    if len(rise) < 2 or not np.isfinite(rise).all() or not (np.diff(rise) > 0).all():
        raise InputError("edges: expected at least two finite numbers, each above the one before.")
    return rise


def edges_of(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Edges of thirty bins over the finite values of arrays."""
    values = style.finite(arrays)
    return np.histogram_bin_edges(values, bins=30) if len(values) else np.linspace(0, 1, 31)
