"""Matrices as heat maps."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, Normalize

from ka_explore.errors import checked
from ka_explore.plots import placing, style
from ka_explore.probes.results import Matrix, heading

NUMBERS = 150  # cells that may have their numbers printed
SMALLEST = 0.5  # of the figure's type: smaller names are thinned, smaller numbers left out


@checked
def draw_matrix(
    result: Matrix, ax: Axes | None = None, *, limits: tuple[float, float] | None = None, bar: bool = True
) -> Axes:
    """A heat map with its numbers printed where they have room.

    From dark to light where values have no centre; from blue over white to red around the centre where they have
    one; their ``limits`` are by default the values' own, and a ``bar`` beside it explains them. Names get smaller where
    there are many, and are thinned, which the picture says, where they would be too small to read.
    """
    ax = style.axes_of(ax)
    finite = style.finite([result.values])
    low, high = limits if limits else (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    norm: Normalize = Normalize(low, high if high > low else low + 1)
    if result.centre is not None:
        reach = max(abs(low - result.centre), abs(high - result.centre))
        norm = CenteredNorm(result.centre, reach or 1.0)
    map_ = colormaps["cividis" if result.centre is None else "RdBu_r"].with_extremes(bad="#dddddd")
    image = ax.imshow(result.values, cmap=map_, norm=norm, aspect="auto", interpolation="nearest")

    size, (width, height) = style.type_of(ax), style.room_of(ax)
    rows = [style.shortened(style.plain(name), 0.3 * width, 0.85 * size) for name in result.rows]
    columns = [style.shortened(style.plain(name), 0.3 * height, 0.85 * size) for name in result.columns]
    beside = max([style.width_of(name, 0.85 * size) for name in rows], default=0.0)
    wide = max(width - beside - (5.5 if bar else 1.5) * size, 0.3 * width)
    turned = any(style.width_of(name, 0.85 * size) > 0.9 * wide / max(len(columns), 1) for name in columns)
    under = max([style.width_of(name, 0.85 * size) for name in columns], default=0.0) if turned else size
    tall = max(height - 0.75 * under - 4 * size, 0.3 * height)

    row_size, row_step = fitted(size, tall / max(len(rows), 1))
    column_size, column_step = fitted(size, wide / max(len(columns), 1) * (0.75 if turned else 1.0))
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "va": "top", "rotation_mode": "anchor"} if turned else {}
    ax.set_xticks(range(0, len(columns), column_step), columns[::column_step], **slant)
    ax.set_yticks(range(0, len(rows), row_step), rows[::row_step])
    steps = {"row": row_step, "column": column_step}
    thinned = [f"one {what} in {step} is named" for what, step in steps.items() if step > 1]
    style.dress(ax, title=heading(result), note="; ".join([*([result.note] if result.note else []), *thinned]))
    ax.tick_params(axis="x", labelsize=column_size)
    ax.tick_params(axis="y", labelsize=row_size)
    if bar and ax.figure is not None:
        # inside the axes' own place: beside a wide legend of another picture it would stand far off
        strip = ax.inset_axes((1.02, 0.0, min(1.2 * size / wide, 0.06), 1.0))
        scale = ax.figure.colorbar(image, cax=strip)
        scale.set_label(style.plain(result.unit), fontsize=0.85 * size)
        scale.ax.tick_params(labelsize=0.75 * size, length=0.3 * size)
        scale.outline.set_linewidth(0.07 * size)
    if finite.size and result.values.size <= NUMBERS:
        write_numbers(ax, result.values, image, size, wide / len(columns), tall / len(rows))
    return placing.placed(ax)


def fitted(size: float, room: float) -> tuple[float, int]:
    """The size of type for names that stand so many points apart, and the step at which they are named."""
    least = max(SMALLEST * size, 4.5)
    if room >= 1.2 * least:
        return min(0.85 * size, room / 1.2), 1
    return least, int(np.ceil(1.2 * least / max(room, 1e-3)))


def write_numbers(ax: Axes, values: np.ndarray, image: Any, size: float, width: float, height: float) -> None:
    """Every cell's number, in the tone that stands out; none at all where they have no room to be read."""
    texts = {place: f"{value:.2g}" if not np.isnan(value) else "–" for place, value in np.ndenumerate(values)}
    longest = max(style.width_of(text, 10.0) for text in texts.values()) / 10
    least = max(SMALLEST * size, 4.5)
    size = min(0.8 * size, 0.9 * width / longest, 0.8 * height)
    if size < least:
        return
    colours = image.cmap(image.norm(values))
    for (row, column), text in texts.items():
        red, green, blue, _ = colours[row, column]
        tone = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"
        ax.text(column, row, text, ha="center", va="center", color=tone, fontsize=size)
