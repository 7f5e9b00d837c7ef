"""The picture of what alignment costs; `ka_explore.benchmark.frontier` makes the numbers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ka_explore.plots import style
from ka_explore.plots.comparing import panels

if TYPE_CHECKING:
    from ka_explore.benchmark.trial import Spread


def draw_frontier(found: "Mapping[str, Sequence[tuple[str, Spread, Spread]]]") -> Figure:
    """A panel a problem: pairs found (right is better) and joint accuracy minus distillation's (up is better).

    A mark a setting: the mean over seeds of these two shares, with one standard deviation. A setting to the lower left
    of another gives less of both.
    """
    figure, axes = panels(None, len(found))
    for ax, (name, settings) in zip(axes, found.items(), strict=True):
        size, handles = style.type_of(ax), []
        for index, (label, pairs, gain) in enumerate(settings):
            handles.append(
                ax.errorbar(
                    100 * pairs.mean, 100 * gain.mean, xerr=100 * pairs.deviation, yerr=100 * gain.deviation,
                    marker=style.MARKERS[index % len(style.MARKERS)], color=style.RUNS[index % len(style.RUNS)],
                    ms=0.8 * size, elinewidth=0.08 * size, ls="", label=style.plain(label),
                )
            )  # fmt: skip
        ax.axhline(0, color=style.QUIET, lw=0.08 * size, zorder=0)
        ax.set_xlim(left=-4)
        style.dress(ax, title=name, x="pairs found, % of the probe set", y="joint minus distillation, points")
        if ax is axes[-1]:
            style.beside(ax, handles)
    return figure
