"""Points in the plane: one picture, or several over the steps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ka_explore.errors import InputError, check_between, checked
from ka_explore.plots import placing, style
from ka_explore.probes.results import Points, heading

NAMED = 20  # classes that a legend can name

Limits = tuple[tuple[float, float], tuple[float, float]]


@checked
def draw_points(
    result: Points,
    ax: Axes | None = None,
    *,
    legend: int | bool = 1,
    limits: Limits | None = None,
    range_: tuple[float, float] | None = None,
    bar: bool = True,
    own_axes: bool = False,
) -> Axes:
    """A scatter: marker = net; colour = a value, a label (class, teacher, …), or the net where neither is known.

    The ``legend`` says beside how many rows of pictures nets and labels are named, this one's first; 0 for not at all.
    To compare several: ``limits`` of both axes, by default the points' own, and the ``range_`` of the values that the
    colours span, by default the 2nd to the 98th percentile. A ``bar`` under it explains the colours of values. A linear
    view that shares its axes with others is drawn on axes of its own with ``own_axes``.
    """
    check_between("legend", legend, 0, 1000)
    result = result.on_own_axes() if own_axes else result
    ax = style.axes_of(ax)
    size = style.type_of(ax)
    by_label = result.value is None and result.label is not None and len(result.labels) > 0
    colours = style.label_colours(result.labels, result.legend) if by_label else []
    by_value = ValueColours(result.value, range_) if result.value is not None else None
    if len(result.pairs):
        lines = result.xy[result.pairs]
        ax.add_collection(LineCollection(lines, colors="#999999", linewidths=0.06 * size, alpha=0.7, zorder=1))
    handles: list[Line2D] = []
    area = (size / 2.2) ** 2 * (0.6 if len(result.xy) > 2000 else 1.0)
    for g, net in enumerate(result.groups):
        mine = result.group == g
        own, marker = style.colour_of(net, result.groups), style.marker_of(net, result.groups)
        face: Any = own
        if by_value is not None:
            face = by_value.to_colours(result.value[mine])  # type: ignore[index]
        elif by_label and result.label is not None:
            face = [colours[i] if i >= 0 else style.UNKNOWN for i in result.label[mine]]
        x, y = result.xy[mine].T
        look: Any = {"c": face, "edgecolors": "none", "s": 0.8 * area, "zorder": 3}
        if net != "student":
            look = {"c": "none", "edgecolors": face, "s": 1.2 * area, "zorder": 2}
        label = style.plain(net)
        ax.scatter(x, y, marker=marker, linewidths=0.1 * size, alpha=0.85, label=label, **look)
        grey = "#444444" if by_label or by_value is not None else own
        fill: Any = {"markerfacecolor": grey if net == "student" else "none"}
        handles.append(Line2D([], [], marker=marker, ls="", color=grey, ms=0.6 * size, label=label, **fill))
    # a note says the quality in words already
    note = [result.note] if result.note else [f"{name} {value:.2f}" for name, value in result.quality.items()]
    if by_label and len(result.labels) > NAMED:
        note.append(f"{len(result.labels)} colours, too many to name")
    if result.own_axes:
        note.append("axes of its own")
    style.dress(ax, title=heading(result), x=result.axes[0], y=result.axes[1], note="; ".join(note))
    if limits is not None:
        ax.set(xlim=limits[0], ylim=limits[1])
    if bar and by_value is not None:
        strip = by_value.explain([ax], result.unit, (0.85 * size, 0.75 * size), **placing.strip_under(ax))
        strip.tick_params(length=0.3 * size)
    if legend:
        names = [*zip(colours, result.labels, strict=True)] if by_label and len(result.labels) <= NAMED else []
        write_legends(ax, handles, names, result.legend, rows=legend)
    return placing.placed(ax)


def write_legends(ax: Axes, nets: Sequence[Line2D], names: Sequence[tuple[Any, str]], what: str, rows: int = 1) -> None:
    """Nets, then colours, in one list beside the axes: where it is long in smaller type, then in columns."""
    width, height = style.room_of(ax)
    size = 0.8 * style.type_of(ax)
    lines = len(nets) + (len(names) + 1 if names else 0)
    room = rows * height - 11 * style.type_of(ax)  # what title, ticks, the axis' name and a note leave
    size = max(min(size, room / (1.35 * lines)), min(size, 4.5))
    columns = -(-lines // max(int(room / (1.35 * size)), 4))
    each = (0.22 if columns == 1 else 0.4 / columns) * width - 2 * size
    for line in nets:
        line.set_label(style.shortened(str(line.get_label()), each, size))
        line.set_markersize(0.75 * size)
    handles = [*nets]
    for marker, colour, name in [("", "none", what), *(("o", *pair) for pair in names)] if names else []:
        label = style.shortened(style.plain(name), each, size)
        handles.append(Line2D([], [], marker=marker, ls="", color=colour, ms=0.75 * size, label=label))
    legend = style.beside(ax, handles, columns=columns, size=size)
    legend.set_zorder(5)
    if names:
        legend.get_texts()[len(nets)].set_fontstyle("italic")


class ValueColours:
    """Colours of values from the 2nd to the 98th percentile: one outlier must not make all others alike."""

    def __init__(self, values: np.ndarray, limits: tuple[float, float] | None = None):
        finite = style.finite([values])
        low, high = limits or (tuple(np.percentile(finite, (2, 98))) if finite.size else (0.0, 1.0))
        self.norm = Normalize(low, high if high > low else low + 1)
        below, above = bool(np.any(finite < low)), bool(np.any(finite > high))
        self.extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
        self.map = colormaps["viridis"].with_extremes(bad=style.UNKNOWN)

    def to_colours(self, values: np.ndarray) -> np.ndarray:
        """One colour a value; grey where there is none."""
        return self.map(self.norm(np.ma.masked_invalid(values)))

    def explain(self, axes: Sequence[Axes], unit: str, sizes: tuple[float, float], **where: Any) -> Any:
        """A colour bar with the unit, in type of two sizes; arrows where values go beyond it. Returns its axes."""
        figure: Any = axes[0].figure
        bar = figure.colorbar(ScalarMappable(self.norm, self.map), ax=axes, extend=self.extend, aspect=30, **where)
        bar.set_label(style.plain(unit), fontsize=sizes[0])
        bar.ax.tick_params(labelsize=sizes[1])
        return bar.ax


def common_limits(frames: Sequence[Points]) -> Limits | None:
    """The limits that hold every point of all pictures, with a margin; None where they have axes of their own."""
    if len(frames) > 1 and any(frame.own_axes for frame in frames):
        return None
    both = np.concatenate([frame.xy for frame in frames])
    both = both[np.isfinite(both).all(axis=1)]
    if not len(both):
        return (0.0, 1.0), (0.0, 1.0)
    low, high = both.min(axis=0), both.max(axis=0)
    margin = np.where(high > low, 0.05 * (high - low), 0.5)
    x, y = zip((low - margin).tolist(), (high + margin).tolist(), strict=True)
    return x, y


def common_range(frames: Sequence[Points]) -> tuple[float, float] | None:
    """The range of the values of all pictures: 2nd to 98th percentile; None where they have none."""
    finite = style.finite(frame.value for frame in frames if frame.value is not None)
    return (float(np.percentile(finite, 2)), float(np.percentile(finite, 98))) if len(finite) else None


@checked
def draw_steps(
    frames: Sequence[Points] | Mapping[str, Points], figure: style.Empty = None, *, own_axes: bool = False
) -> Figure:
    """Small multiples: one picture beside the other with one legend; keys become titles.

    The axes are the same in each, unless the pictures come with axes of their own; ``own_axes`` draws them so. An empty
    figure may be handed in; by default it is a new one of fitting size. Raises InputError for no picture.
    """
    if not frames:
        raise InputError("nothing to draw: give at least one picture.")
    titles = list(frames) if isinstance(frames, Mapping) else [heading(frame) for frame in frames]
    shown = list(frames.values()) if isinstance(frames, Mapping) else list(frames)
    shown = [frame.on_own_axes() for frame in shown] if own_axes else shown
    columns = len(shown) if len(shown) <= 4 else -(-len(shown) // -(-len(shown) // 4))
    rows = -(-len(shown) // columns)
    if figure is None:
        figure = Figure(figsize=(min(2.6 * columns + 1.4, 11), 2.6 * rows + 0.6), layout="constrained")
    limits, range_ = common_limits(shown), common_range(shown)
    alike = limits is not None
    grid = style.laid_out(figure).subplots(rows, columns, squeeze=False, sharex=alike, sharey=alike)
    shared, own = told_apart(titles)
    same = [words for words in shown[0].note.split("; ") if all(words in frame.note.split("; ") for frame in shown)]
    for spare in grid.flat[len(shown) :]:
        spare.remove()
    for index, (ax, frame) in enumerate(zip(grid.flat, shown, strict=False)):
        last = index == min(columns, len(shown)) - 1  # the legend stands at the first row's end
        note = "; ".join(words for words in frame.note.split("; ") if words not in same)
        bare = replace(frame, note=note, own_axes=False)
        draw_points(bare, ax, legend=rows if last else 0, limits=limits, range_=range_, bar=False)
        size = style.type_of(ax)
        ax.set_title(style.plain(own[index]), fontsize=size, pad=0.4 * size)
        ax.tick_params(labelbottom=False, labelleft=False, length=0)
        ax.set(xlabel="", ylabel="")
        for text in list(ax.texts) if not note else ():
            text.remove()
    size = 0.9 * style.type_of(grid.flat[0])
    if shared:
        figure.suptitle(style.plain(shared), fontsize=1.3 * size)
    axes = " and ".join(dict.fromkeys(filter(None, shown[0].axes)))
    each = "the same axes in each" if alike else "axes of its own in each"
    words = "; ".join(filter(None, [each, axes, *same]))
    figure.supxlabel(style.plain(words), fontsize=size, color=style.QUIET)
    if range_ is not None:
        values, units = zip(*((f.value, f.unit) for f in shown if f.value is not None), strict=True)
        ValueColours(np.concatenate(values), range_).explain(figure.axes, units[0], (size, 0.85 * size), pad=0.01)
    return figure


def told_apart(titles: Sequence[str]) -> tuple[str, list[str]]:
    """What all titles begin with, up to a comma, and what each has of its own."""
    heads = {title.rpartition(", ")[0] for title in titles}
    if len(titles) > 1 and len(heads) == 1 and "" not in heads:
        return heads.pop(), [title.rpartition(", ")[2] for title in titles]
    return "", list(titles)
