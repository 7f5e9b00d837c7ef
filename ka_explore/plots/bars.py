"""Named numbers as bars, samples as histograms."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ka_explore.plots.style import (
    DASHES,
    axes_of,
    beside,
    colour_of,
    dress,
    plain,
    room_of,
    shortened,
    type_of,
    wrapped,
)
from ka_explore.probes.results import Distribution, Scalars, heading

NEUTRAL = "#7b8ba5"  # no net's


def draw_scalars(result: Scalars, ax: Axes | None = None) -> Axes:
    """Horizontal bars with their values printed; in the nets' colours where the student is among the names."""
    ax = axes_of(ax)
    size, (width, height) = type_of(ax), room_of(ax)
    values, known = list(result.values.values()), list(result.values)
    small = min(0.85 * size, max(0.7 * height / max(len(values), 1) / 1.2, 3.0))
    names = [shortened(plain(name), 0.4 * width, small) for name in known]
    colours = [colour_of(name, known) if "student" in known else NEUTRAL for name in known]
    bars = ax.barh(range(len(values)), values, color=colours, height=0.7)
    ax.bar_label(bars, [f"{v:.3g}" if np.isfinite(v) else "–" for v in values], padding=0.3 * size, fontsize=small)
    ax.set_yticks(range(len(values)), names)
    ax.invert_yaxis()
    ax.margins(x=0.2)
    ax.axvline(0, color="#888888", lw=0.07 * size)
    dress(ax, title=heading(result), x=result.unit)
    ax.tick_params(axis="y", labelsize=small, length=0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def draw_distribution(
    result: Distribution,
    ax: Axes | None = None,
    *,
    edges: np.ndarray | None = None,
    colours: Mapping[str, str] | None = None,
    legend: bool = True,
) -> Axes:
    """A histogram a group, outlines only, so that groups stay apart; medians as short marks.

    Args:
        result: what is drawn.
        ax: where.
        edges: of the bins, to compare several; by default 30 over all finite values.
        colours: by group, where they stand for something else than nets.
        legend: whether the groups are named beside it, with their medians.
    """
    ax = axes_of(ax)
    size, (width, _) = type_of(ax), room_of(ax)
    finite = {name: values[np.isfinite(values)] for name, values in result.values.items()}
    edges = edges_of(np.concatenate([*finite.values(), np.zeros(0)])) if edges is None else edges
    handles: list[Any] = []
    for (name, values), dashes in zip(finite.items(), cycle(DASHES), strict=False):
        colour = colours[name] if colours else colour_of(name, list(finite))
        said = f"median {np.median(values):.2g}" if len(values) else "no finite value"
        label = plain(f"{name} ({said})")
        ax.hist(
            values, bins=edges.tolist(), histtype="step", label=label, color=colour, linestyle=dashes,
            linewidth=0.16 * size,
        )  # fmt: skip
        if len(values):
            ax.plot(
                [np.median(values)], [0.02], marker=6, ms=0.6 * size, color=colour, clip_on=False,
                transform=ax.get_xaxis_transform(), zorder=4,
            )  # fmt: skip
        short = shortened(plain(name), 0.25 * width, 0.8 * size)
        handles.append(
            Line2D([], [], color=colour, ls=dashes, lw=0.16 * size, label=f"{short}\n({wrapped(said, 0.3 * width, 6)})")
        )
    dress(ax, title=heading(result), x=result.unit, y="samples")
    ax.spines[["top", "right"]].set_visible(False)
    if handles and legend:
        beside(ax, handles)
    return ax


def edges_of(values: np.ndarray) -> np.ndarray:
    """Edges of thirty bins over values."""
    return np.histogram_bin_edges(values, bins=30) if len(values) else np.linspace(0, 1, 31)
