"""Where axes stand in a figure, so that nothing around them stands on a neighbour or is cut off."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.transforms import Bbox, ScaledTranslation

from ka_explore.plots import style


def placed(ax: Axes) -> Axes:
    """The axes with room for all that stands around them, whenever the figure is drawn; see `Placing`."""
    placing = Placing(ax)
    ax.set_axes_locator(placing)
    ax.apply_aspect(placing(ax))
    return ax


class Placing:
    """Axes with all that stands around them, up to the figure's edges and what else is in it.

    Where a layout engine is at work (``layout="constrained"``, ``tight_layout``) that is its matter. Else axes of a
    grid fill their part of it, and axes that were placed by hand are made smaller where they must.
    """

    def __init__(self, ax: Axes):
        self.get_subplotspec = ax.get_subplotspec  # matplotlib's tight_layout asks a locator for it
        self.tried: Bbox | None = None  # while it is found how far things reach around it

    def __call__(self, ax: Any, _renderer: Any = None) -> Any:
        """The place of the axes' own box, in shares of the figure; called by matplotlib before it draws."""
        given = ax.get_position(original=True)
        if ax.figure is None or laid_out_by_engine(ax.figure):
            return given
        if self.tried is None:
            self.tried = given
            try:
                for _ in range(3):  # ticks and their names follow the size
                    self.tried = self.smaller(ax, self.tried)
                return self.tried
            finally:
                self.tried = None
        return self.tried

    def smaller(self, ax: Axes, tried: Bbox) -> Bbox:
        """The largest place with which what stands around the axes keeps within their room, had they stood there."""
        figure: Any = ax.figure
        room, pad = edges_for(ax), 0.3 * style.type_of(ax) * figure.dpi / 72
        own, now, outer = position_of(ax), tried.transformed(figure.transSubfigure).extents, around_of(ax)
        low = room[:2] + np.maximum(now[:2] - outer[:2], 0) + pad
        high = room[2:] - np.maximum(outer[2:] - now[2:], 0) - pad
        if ax.get_subplotspec() is None or not ax.get_in_layout():  # placed by hand
            low, high = np.maximum(low, own[:2]), np.minimum(high, own[2:])
        least = 0.2 * (own[2:] - own[:2])  # where a legend takes all of the room, the axes still stay in it
        low = np.minimum(low, room[2:] - pad - least)
        high = np.maximum(high, low + least)
        return Bbox([low, high]).transformed(figure.transSubfigure.inverted())


def edges_for(ax: Axes) -> Any:
    """Edges in pixels of what the axes may fill: half of the way to others, and not what stands around these."""
    figure: Any = ax.figure
    own, room = position_of(ax), figure.bbox.extents.copy()
    others = [other for other in figure.axes if other is not ax]
    texts = [text.get_window_extent().extents for text in (*figure.texts, *figure.legends)]
    places = [position_of(other) for other in others]
    arounds = [  # those that keep to their own room need not be asked for more
        p if isinstance(o.get_axes_locator(), Placing) else around_of(o) for o, p in zip(others, places, strict=True)
    ]
    for place, around in zip([*places, *texts], [*arounds, *texts], strict=True):
        for i in (0, 1):  # beside it, above or below it
            if place[1 - i] < own[3 - i] and own[1 - i] < place[3 - i]:
                if place[i] >= own[2 + i]:
                    room[2 + i] = min(room[2 + i], (own[2 + i] + place[i]) / 2, around[i])
                elif place[2 + i] <= own[i]:
                    room[i] = max(room[i], (own[i] + place[2 + i]) / 2, around[2 + i])
    return room


def laid_out_by_engine(figure: Any) -> bool:
    """Whether a layout engine is at work, or has been.

    ``tight_layout`` leaves one that does nothing; so does the constrained layout while a figure is saved, but then its
    places stand.
    """
    engine = figure.get_layout_engine()
    return engine is not None and not (isinstance(engine, PlaceHolderLayoutEngine) and engine.adjust_compatible)


def strip_under(ax: Axes) -> dict[str, Any]:
    """Where a colour bar stands that explains these axes: under all that stands under them."""
    figure: Any = ax.figure
    if laid_out_by_engine(figure):
        return {"location": "bottom", "pad": 0.03}
    below = (position_of(ax)[1] - around_of(ax)[1]) / figure.dpi + 0.6 * style.type_of(ax) / 72  # inches
    down = ax.transAxes + ScaledTranslation(0, -below, figure.dpi_scale_trans)
    return {"location": "bottom", "cax": ax.inset_axes((0.0, -0.03, 1.0, 0.03), transform=down)}


def position_of(ax: Axes) -> Any:
    """Left, lower, right and upper edge in pixels of the axes as they were placed by their grid or by hand."""
    figure: Any = ax.figure
    return ax.get_position(original=True).transformed(figure.transSubfigure).extents


def around_of(ax: Axes) -> Any:
    """Edges of the axes with all that stands around them, in pixels."""
    found = ax.get_tightbbox()
    return position_of(ax) if found is None else found.extents
