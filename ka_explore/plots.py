"""Pictures of results: one function a shape, drawn on axes that are handed in or made; no global style is set.

A teacher keeps its colour and its marker in every picture (by its place in the problem), the student is dark with
a round marker. Colours are Okabe and Ito's, which stay apart under colour blindness; markers and dashes say the same
in greyscale.
"""

from collections.abc import Mapping, Sequence
from functools import singledispatch
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import color_sequences, colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ka_explore.errors import InputError
from ka_explore.results import Distribution, Matrix, Points, Scalars

STUDENT = "#222222"
TEACHERS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
MARKERS = ("^", "s", "D", "v", "P", "X", "*")
DASHES = ("-", "--", ":", "-.")


def colour_of(net: str, nets: Sequence[str]) -> str:
    """The colour a net has in every picture of its problem."""
    teachers = [name for name in nets if name != "student"]
    return STUDENT if net == "student" else TEACHERS[teachers.index(net) % len(TEACHERS)]


def marker_of(net: str, nets: Sequence[str]) -> str:
    """The marker a net has in every picture of its problem."""
    teachers = [name for name in nets if name != "student"]
    return "o" if net == "student" else MARKERS[teachers.index(net) % len(MARKERS)]


def class_colours(count: int) -> list[Any]:
    """Colours of so many classes: ten that stay apart under colour blindness, or a spread of a wide map."""
    if count <= 10:
        return list(color_sequences["petroff10"][:count])
    return [colormaps["turbo"](i / (count - 1)) for i in range(count)]


def plain(text: str) -> str:
    """A name as it stands: matplotlib would read ``$`` as mathematics and leave a leading ``_`` out of legends."""
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def axes_of(ax: Axes | None, size: tuple[float, float] = (6.0, 4.5)) -> Axes:
    """The axes handed in, or those of a new figure that belongs to nobody else."""
    return ax if ax is not None else Figure(figsize=size, layout="constrained").add_subplot()


@singledispatch
def draw(result: Any, ax: Axes | None = None) -> Axes:  # noqa: ARG001 - the shapes' functions take it
    """Draw a result on axes (new ones by default) and return them."""
    raise InputError(f"cannot draw a {type(result).__name__}: expected Scalars, Matrix, Points or Distribution.")


@draw.register
def draw_scalars(result: Scalars, ax: Axes | None = None) -> Axes:
    """Horizontal bars with their values printed."""
    ax = axes_of(ax)
    names, values = [plain(name) for name in result.values], list(result.values.values())
    bars = ax.barh(names, values, color="#56B4E9")
    ax.bar_label(bars, [f"{value:.3g}" for value in values], padding=3)
    ax.invert_yaxis()
    ax.set(title=result.title, xlabel=result.unit)
    ax.margins(x=0.15)
    return ax


@draw.register
def draw_matrix(result: Matrix, ax: Axes | None = None) -> Axes:
    """A heat map with its numbers printed where they have room."""
    ax = axes_of(ax)
    image = ax.imshow(result.values, cmap="cividis", aspect="auto")
    ax.set_xticks(range(len(result.columns)), [plain(name) for name in result.columns], rotation=45, ha="right")
    ax.set_yticks(range(len(result.rows)), [plain(name) for name in result.rows])
    ax.set(title=result.title)
    if ax.figure is not None:
        ax.figure.colorbar(image, ax=ax, label=result.unit)
    finite = result.values[np.isfinite(result.values)]
    if finite.size and result.values.size <= 150:
        middle = (finite.min() + finite.max()) / 2
        for (row, column), value in np.ndenumerate(result.values):
            tone = "white" if value < middle else "black"
            ax.text(column, row, f"{value:.2g}", ha="center", va="center", color=tone, fontsize=8)
    return ax


@draw.register
def draw_points(result: Points, ax: Axes | None = None) -> Axes:
    """A scatter: marker = net; colour = class where classes are known, else net."""
    ax = axes_of(ax)
    by_class = result.label is not None and len(result.labels) > 0
    colours = class_colours(len(result.labels)) if by_class else []
    handles: list[Line2D] = []
    for g, net in enumerate(result.groups):
        mine = result.group == g
        own = colour_of(net, result.groups)
        marker = marker_of(net, result.groups)
        if by_class and result.label is not None:
            face: Any = [colours[i] if i >= 0 else "#bbbbbb" for i in result.label[mine]]
        else:
            face = own
        student = net == "student"
        ax.scatter(
            result.xy[mine, 0],
            result.xy[mine, 1],
            c=face if student else "none",
            edgecolors="none" if student else face,
            marker=marker,
            s=16 if student else 24,
            linewidths=0.9,
            alpha=0.85,
            label=plain(net),
            zorder=3 if student else 2,
        )
        grey = "#444444" if by_class else own
        fill = grey if student else "none"
        handles.append(Line2D([], [], marker=marker, ls="", color=grey, markerfacecolor=fill, label=plain(net)))
    ax.set(title=result.title, xlabel=result.axes[0], ylabel=result.axes[1])
    nets = ax.legend(handles=handles, loc="upper left", fontsize=8, frameon=True)
    if by_class and len(result.labels) <= 20:
        ax.add_artist(nets)
        dots = [
            Line2D([], [], marker="o", ls="", color=c, label=plain(n))
            for c, n in zip(colours, result.labels, strict=True)
        ]
        ax.legend(
            handles=dots, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, handletextpad=0.1,
            ncols=1 + (len(dots) > 12), title="class", title_fontsize=8,
        )  # fmt: skip
    if result.note:
        ax.text(0.99, 0.01, result.note, transform=ax.transAxes, ha="right", va="bottom", fontsize=8, color="#555555")
    return ax


@draw.register
def draw_distribution(result: Distribution, ax: Axes | None = None) -> Axes:
    """A histogram a group, outlines only, so that groups stay apart; medians as short marks."""
    ax = axes_of(ax)
    finite = {name: values[np.isfinite(values)] for name, values in result.values.items()}
    everything = np.concatenate([*finite.values(), np.zeros(0)])
    edges = np.histogram_bin_edges(everything, bins=30) if len(everything) else np.linspace(0, 1, 31)
    for place, (name, values) in enumerate(finite.items()):
        ax.hist(
            values,
            bins=edges.tolist(),
            histtype="step",
            label=plain(f"{name} (median {np.median(values):.2g})" if len(values) else f"{name} (no finite value)"),
            color=colour_of(name, list(finite)),
            linestyle=DASHES[place % len(DASHES)],
            linewidth=1.8,
        )
    ax.set(title=result.title, xlabel=result.unit, ylabel="samples")
    if finite:
        ax.legend(fontsize=8)
    return ax


def draw_history(histories: Mapping[str, Sequence[Mapping[str, Any]]], term: str, ax: Axes | None = None) -> Axes:
    """One term over the steps, a line a run, on a log axis; stage boundaries as thin lines.

    Args:
        histories: rows by run name, as ``run.history()`` gives them.
        term: of the loss, or ``loss``.
    """
    ax = axes_of(ax)
    shown: list[float] = []
    for place, (name, rows) in enumerate(histories.items()):
        kept = [(row["step"], row["loss"] if term == "loss" else row["terms"].get(term)) for row in rows]
        kept = [(step, value) for step, value in kept if value is not None]
        if kept:
            steps, values = zip(*kept, strict=True)
            colour = (STUDENT, *TEACHERS)[place % 8]
            ax.plot(steps, smooth(values), color=colour, ls=DASHES[place % len(DASHES)], lw=1.6, label=plain(name))
            shown += values
            for before, after in pairwise(rows):
                if before["stage"] != after["stage"]:
                    ax.axvline(after["step"], color="#999999", lw=0.8)
    if not shown:
        raise InputError(f"no run has a term {term!r} in its history.")
    ax.set(xlabel="step", ylabel=plain(term), title=plain(f"{term} over the steps"))
    ax.set_yscale("log" if max(shown) > 0 else "linear")
    ax.legend(fontsize=8)
    return ax


def smooth(values: Sequence[float], window: int = 9) -> np.ndarray:
    """Running mean over steps, shorter at the ends, so that a line and not a band is seen."""
    array = np.asarray(values, dtype=float)
    window = min(window, len(array))
    sums = np.convolve(array, np.ones(window), mode="same")
    return sums / np.convolve(np.ones(len(array)), np.ones(window), mode="same")
