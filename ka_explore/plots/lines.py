"""Lines over one quantity, with levels and marks."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from ka_explore.errors import checked
from ka_explore.plots import placing, style
from ka_explore.probes.results import Curves, heading

ROWS = 3  # of marks' names above the axes


@checked
def draw_curves(
    result: Curves,
    ax: Axes | None = None,
    *,
    nets: Sequence[str] = (),
    colours: Mapping[str, str] | None = None,
    legend: bool | None = None,
) -> Axes:
    """Lines with levels and marks; a line that is called as a net has its colour.

    The nets are all of the problem, by default the lines' names; colours are given by line, where they stand for
    something else than nets; by default a legend names the lines where there are several.
    """
    style.check_colours(colours)
    ax = style.axes_of(ax)
    size, (width, _) = style.type_of(ax), style.room_of(ax)
    known = list(nets) or list(result.x)
    lines = []
    for name, dashes in zip(result.x, cycle(style.DASHES), strict=False):
        colour = (colours or {}).get(name) or style.colour_of(name, known if name in known else [*known, name])
        x, y = np.asarray(result.x[name], dtype=float), np.asarray(result.y[name], dtype=float)
        alone = isolated(y)
        lines += ax.plot(
            x, y, color=colour, ls=dashes, lw=0.16 * size, label=style.plain(name),
            marker="o" if alone else None, markevery=alone or None, ms=0.4 * size,
        )  # fmt: skip
    if result.log[0] and any(np.any(np.asarray(x) > 0) for x in result.x.values()):
        ax.set_xscale("log")
    if result.log[1] and any(np.any(np.asarray(y) > 0) for y in result.y.values()):
        ax.set_yscale("log")
    spell_out(ax)
    homeless = write_levels(ax, result.levels, size)
    rows, key = write_marks(ax, result.marks, 0.75 * size)
    note, above = "; ".join(filter(None, (result.note, key))), rows * 0.75 * size * 1.25
    style.dress(ax, title=heading(result), x=result.across, y=result.unit, note=note, above=above, framed=False)
    if legend or homeless or (legend is None and len(lines) > 1):
        named = [line for line in (*lines, *homeless) if str(line.get_label()).strip()]
        for line in named:
            line.set_label(style.shortened(str(line.get_label()), 0.3 * width, 0.8 * size))
        style.beside(ax, named)
    return placing.placed(ax)


def isolated(values: np.ndarray) -> list[int]:
    """Indices of values with none beside them: a line alone would not show them."""
    there = np.concatenate([[False], np.isfinite(values), [False]])
    return np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:]).tolist()


def spell_out(ax: Axes) -> None:
    """Write the numbers of log axes in full; where there is little more than one decade, 2 and 5 as well."""
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if axis.get_scale() == "log":
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            if high / low < 50:
                axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
                axis.set_minor_formatter(lambda value, _: f"{value:g}")


def write_levels(ax: Axes, levels: Mapping[str, float], size: float) -> list[Line2D]:
    """Thin horizontal lines with their names at an end where they are on no line; returns those without such a place.

    The data must be drawn already, and the scales chosen.
    """
    least = 0 if ax.get_yscale() == "log" else -np.inf
    finite = {name: value for name, value in levels.items() if least < value < np.inf}
    lines = {
        name: ax.axhline(value, color=style.QUIET, lw=0.09 * size, ls=style.LEVELS[i % len(style.LEVELS)], zorder=1.5)
        for i, (name, value) in enumerate(finite.items())
    }
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # as they are: what follows is measured in them
    small = 0.7 * size
    wide, tall = (0.5 * room for room in style.room_of(ax))  # at least
    inside = ax.transScale + ax.transLimits  # from data to shares of the axes
    drawn = [line.get_xydata() for line in ax.lines if line not in lines.values()]
    dense = np.concatenate([np.zeros((0, 2)), *(between(inside.transform(np.asarray(line))) for line in drawn)])
    heights = {name: float(inside.transform((ax.get_xlim()[0], value))[1]) for name, value in finite.items()}
    taken: list[style.Rectangle] = []
    homeless = []
    for name, at in heights.items():
        across, up = (style.width_of(style.plain(name), small) + small) / wide, 1.3 * small / tall
        for side, below in ((1, 0), (0, 0), (1, 1), (0, 1)):
            left, bottom = side * (1 - across), at - below * up
            box = (left, bottom, left + across, bottom + up)
            others = [y for other, y in heights.items() if other != name]
            free = not any(style.meet(box, other) for other in taken)
            free &= not any(bottom - 0.02 < y < bottom + up for y in others) and bottom >= 0 and bottom + up <= 1.08
            near = (dense >= (left, bottom - 0.01)) & (dense <= (left + across, bottom + up))
            if free and not near.all(axis=1).any():
                taken.append(box)
                ax.annotate(
                    style.plain(name), xy=(side, finite[name]), xycoords=("axes fraction", "data"),
                    ha="right" if side else "left", va="top" if below else "bottom",
                    xytext=((-0.3 if side else 0.3) * small, (-0.15 if below else 0.15) * small),
                    textcoords="offset points", fontsize=small, color=style.QUIET, zorder=4, annotation_clip=False,
                )  # fmt: skip
                break
        else:
            lines[name].set_label(style.plain(f"{name} ({finite[name]:.2g})"))
            homeless.append(lines[name])
    return homeless


def between(points: np.ndarray) -> np.ndarray:
    """Points of a line at a hundred places across, in shares of the axes."""
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        return points
    points = points[np.argsort(points[:, 0])]
    across = np.linspace(0, 1, 101)
    across = across[(across >= points[0, 0]) & (across <= points[-1, 0])]
    return np.concatenate([points, np.column_stack([across, np.interp(across, points[:, 0], points[:, 1])])])


def write_marks(ax: Axes, marks: Mapping[str, float], size: float) -> tuple[int, str]:
    """Thin vertical lines, with their names above the axes in as many rows as they need, each beginning at its line.

    Where names have no room even in rows, numbers stand there instead. Returns how many rows there are, and the key.
    """
    log = ax.get_xscale() == "log"
    shown = [(x, name) for name, x in marks.items() if np.isfinite(x) and (x > 0 or not log)]
    ordered = sorted(shown, key=lambda pair: pair[0])
    if not ordered:
        return 0, ""
    for x, _ in ordered:
        ax.axvline(x, color="#999999", lw=0.1 * size, zorder=1)
    low, high = ax.get_xlim()
    low, high = min(low, ordered[0][0]), max(high, ordered[-1][0])
    ax.set_xlim(low, high)
    wide = 0.6 * style.room_of(ax)[0]
    share = (lambda x: np.log(x / low) / np.log(high / low)) if log else (lambda x: (x - low) / (high - low))
    places = [float(share(x)) * wide for x, _ in ordered]
    names = [style.shortened(style.plain(name), 0.5 * wide, size) for _, name in ordered]
    rows = arranged(places, [style.width_of(name, size) + 0.6 * size for name in names], wide)
    key = ""
    if max(rows) >= ROWS:
        names = [str(i) for i in range(1, len(ordered) + 1)]
        key = ", ".join(f"{i} {name}".replace(" ", "\u00a0") for i, (_, name) in enumerate(ordered, start=1))
        together: list[tuple[int, int]] = []  # first and last of those that stand too near to one another
        for i, place in enumerate(places):
            near = together and place - places[together[-1][0]] < 1.6 * size
            together.append((together.pop()[0] if near else i, i))
        names = [names[a] if a == b else f"{names[a]}–{names[b]}" for a, b in together]
        ordered, places = [ordered[a] for a, _ in together], [places[a] for a, _ in together]
        rows = arranged(places, [style.width_of(name, size) + 0.6 * size for name in names], wide)
    for (x, _), name, row, place in zip(ordered, names, rows, places, strict=True):
        late = place + style.width_of(name, size) > 1.25 * wide
        ax.annotate(
            name, xy=(x, 1.0), xycoords=("data", "axes fraction"), ha="right" if late else "left", va="bottom",
            xytext=(0, (0.2 + 1.25 * row) * size), textcoords="offset points", fontsize=size, color=style.QUIET,
            annotation_clip=False,
        )  # fmt: skip
    return max(rows) + 1, key


def arranged(places: Sequence[float], widths: Sequence[float], room: float) -> list[int]:
    """For texts that begin at these places, the lowest row where each meets no other.

    A text that would stand out far to the right ends at its place instead.
    """
    taken: list[list[tuple[float, float]]] = []
    rows = []
    for place, width in zip(places, widths, strict=True):
        begin = place - width if place + width > 1.25 * room else place
        taken.append([])
        free = (not any(begin < end and begin + width > start for start, end in row) for row in taken)
        rows.append(list(free).index(True))
        taken[rows[-1]].append((begin, begin + width))
    return rows
