"""An amalgamation drawn as boxes and arrows."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from ka_explore.errors import checked
from ka_explore.plots import placing, style
from ka_explore.plots.layered import Layout, laid_out
from ka_explore.probes.results import Box, Diagram

TYPE = 10.0  # points at which boxes are measured
SMALL = 0.82  # of what stands under a box's name
WIDEST = 120.0  # points of a box's text
PAD = 6.0
LINE = 1.3  # from line to line, in sizes of type


@checked
def draw_diagram(result: Diagram, ax: Axes | None = None) -> Axes:
    """Boxes in layers, to the right or downwards, whichever lets the type be larger.

    Frozen: grey with a dashed outline; trains: white with a bold outline; waits: a thin outline. The word stands in
    the box as well. Teachers and what belongs to one have its colour, losses are round.
    """
    ax = style.axes_of(ax, (10.0, 5.6))
    width, height = style.room_of(ax)
    title = 2.2 * style.type_of(ax) if result.title else 0.0
    sizes, plans = measured(result)
    scales = [min(0.95 * width / max(p.width + 8, 1), 0.95 * (height - title) / max(p.height + 8, 1)) for p in plans]
    best = int(np.argmax(scales))
    plan, scale = plans[best], min(scales[best], 1.15 * style.type_of(ax) / TYPE)

    ax.set_axis_off()
    # data are points at which boxes were measured; the room that is left stays empty on both sides
    spare = 0.95 * width / scale - plan.width, 0.95 * (height - title) / scale - plan.height
    ax.set(xlim=(-spare[0] / 2, plan.width + spare[0] / 2), ylim=(plan.height + spare[1] / 2, -spare[1] / 2))
    ax.set_aspect("equal")
    teachers = [box.name for box in result.boxes if box.kind == "teacher"]
    colours = {b.name: style.colour_of(b.teacher, teachers) if b.teacher in teachers else "" for b in result.boxes}
    waiting = {box.name for box in result.boxes if box.state == "waits"}
    for (start, end, _), path in zip(result.arrows, plan.paths, strict=True):
        tone = "#c4c4c4" if {start, end} & waiting else colours[start] or "#666666"
        ax.add_patch(
            FancyArrowPatch(
                path=curve(path, down=plan.down), arrowstyle="-|>", mutation_scale=7 * scale, lw=0.9 * scale,
                color=tone, shrinkA=0, shrinkB=0, zorder=1, joinstyle="miter",
            )
        )  # fmt: skip
    for box in result.boxes:
        draw_box(ax, box, plan.centres[box.name], sizes[box.name], colours[box.name], scale)
    write_labels(ax, result, plan, sizes, scale)
    if result.title:
        size = 1.1 * style.type_of(ax)
        ax.set_title(style.wrapped(style.plain(result.title), 0.9 * width, size), fontsize=size)
    return placing.placed(ax)


def natural_size(result: Diagram, *, width: float) -> tuple[float, float]:
    """Width and height in inches at which a diagram of at most that width is best drawn."""
    _, plans = measured(result)
    # to the right, unless the type would become too small for reading
    plan = plans[0] if 72 * width / plans[0].width > 0.55 else min(plans, key=lambda p: p.width)
    scale = min(0.95 * 72 * width / (plan.width + 8), 1.0)
    return width, (plan.height + 8) * scale / 0.95 / 72 + 0.45


def measured(result: Diagram) -> tuple[dict[str, tuple[float, float]], list[Layout]]:
    """The size of every box in points, and where they stand with layers to the right, and downwards."""
    sizes = {box.name: size_of(lines_of(box)) for box in result.boxes}
    arrows = [(a, b, label_size(what)) for a, b, what in result.arrows]
    last = [box.name for box in result.boxes if box.kind == "loss"]
    return sizes, [laid_out(sizes, arrows, last=last, down=down) for down in (False, True)]


def lines_of(box: Box) -> list[tuple[str, float, str]]:
    """The lines of a box: text, size of type, weight."""
    lines = [(line, TYPE, "bold") for line in broken(box.name, TYPE, "bold")]
    for part in box.text.split("\n") if box.text else []:
        lines += [(line, SMALL * TYPE, "normal") for line in broken(part, SMALL * TYPE, "normal")]
    if box.kind not in ("images", "loss") or box.state == "waits":  # these have no other state worth a word
        lines.append((box.state, SMALL * TYPE, "bold" if box.state == "trains" else "normal"))
    return lines


def broken(text: str, size: float, weight: str) -> list[str]:
    """A text as lines that are no wider than a box may be; a word that is longer is cut."""
    letters = WIDEST * len(text) / max(style.width_of(text, size, weight), 1e-3)
    lines = style.wrapped(style.plain(text), WIDEST, size).split("\n") if len(text) > letters else [style.plain(text)]
    return [part for line in lines for part in cut(line, size, weight)]


def cut(line: str, size: float, weight: str) -> list[str]:
    """A line in parts no wider than a box may be."""
    if style.width_of(line, size, weight) <= WIDEST or len(line) < 2:
        return [line]
    fitting = (n for n in range(len(line) - 1, 1, -1) if style.width_of(line[:n], size, weight) <= WIDEST)
    keep = next(fitting, 1)
    blank = line.rfind(" ", 1, keep + 1)
    keep = blank if blank > keep // 2 else keep
    return [line[:keep], *cut(line[keep:].lstrip(" "), size, weight)]


def size_of(lines: Sequence[tuple[str, float, str]]) -> tuple[float, float]:
    """Width and height in points of a box with these lines."""
    widest = max((1.06 * style.width_of(text, size, weight) for text, size, weight in lines), default=0.0)
    return widest + 2 * PAD, sum(LINE * size for _, size, _ in lines) + 2 * PAD * 0.8


def label_size(what: str) -> tuple[float, float]:
    """Width and height in points of what is written on an arrow."""
    size = SMALL * TYPE
    return (1.06 * style.width_of(style.plain(what), size) + 4, 1.3 * size) if what else (0.0, 0.0)


def draw_box(
    ax: Axes, box: Box, centre: tuple[float, float], size: tuple[float, float], colour: str, scale: float
) -> None:
    """One box with its text."""
    (x, y), (width, height), lines = centre, size, lines_of(box)
    trains, frozen, waits = (box.state == state for state in ("trains", "frozen", "waits"))
    dark = trains or (box.kind in ("student", "loss") and not waits)
    edge = colour or (style.STUDENT if dark else "#888888")
    face: Any = {"images": "#ffffff", "loss": "#fff4d6"}.get(box.kind) or (
        {"frozen": "#eeeeee", "trains": "#ffffff", "waits": "#fafafa"}[box.state]
    )
    if colour and frozen:
        face = tuple(0.88 + 0.12 * part for part in to_rgb(colour))
    dashed, bold = frozen and box.kind not in ("images", "loss"), trains and box.kind != "loss"
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, label=style.plain(box.name),
            boxstyle=f"round,pad=0,rounding_size={min(height, width) / 2.2 if box.kind == 'loss' else 3}",
            facecolor=face, edgecolor=edge, lw=(2.4 if bold else 0.9) * scale,
            linestyle=(0, (4, 2)) if dashed else "-", zorder=2,
        )
    )  # fmt: skip
    top = y - sum(LINE * s for _, s, _ in lines) / 2
    for text, points, weight in lines:
        top += LINE * points / 2
        ax.text(
            x, top, text, ha="center", va="center_baseline", fontsize=points * scale, fontweight=weight,
            color="#777777" if waits else "#111111", zorder=3,
        )  # fmt: skip
        top += LINE * points / 2


def curve(corners: np.ndarray, *, down: bool) -> Path:
    """A path through the corners that leaves and enters boxes straight: curves in the gaps, lines past the boxes."""
    points, codes = [corners[0]], [Path.MOVETO]
    along = np.array([0, 1] if down else [1, 0])
    for i, (a, b) in enumerate(pairwise(corners)):
        bend = along * (b - a) / 2
        points += [b] if i % 2 else [a + bend, b - bend, b]  # past a layer, or in a gap
        codes += [Path.LINETO] if i % 2 else [Path.CURVE4] * 3
    return Path(np.array(points), codes)


def write_labels(ax: Axes, result: Diagram, plan: Layout, sizes: dict[str, tuple[float, float]], scale: float) -> None:
    """What flows along the arrows, beside no box and upon no other; where it has no room it is left out."""
    taken = [rectangle(plan.centres[name], sizes[name]) for name in sizes]
    for (_, _, what), path in zip(result.arrows, plan.paths, strict=True):
        for centre in spots(path, down=plan.down) if what else ():
            own = rectangle(centre, label_size(what))
            if not any(style.meet(own, other) for other in taken):
                taken.append(own)
                ax.text(
                    *centre, style.plain(what), ha="center", va="center", fontsize=SMALL * TYPE * scale,
                    color="#444444", zorder=2.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.85},
                )  # fmt: skip
                break


def spots(path: np.ndarray, *, down: bool) -> list[tuple[float, float]]:
    """Centres for a text along an arrow, the best first: in the gap it starts in, then in those further on."""
    found = []
    for a, b in zip(path[:-1:2], path[1::2], strict=True):
        for share in (0.5, 0.35, 0.65, 0.25, 0.75):
            smooth = 3 * share**2 - 2 * share**3
            x, y = (a + np.array((smooth, share) if down else (share, smooth)) * (b - a)).tolist()
            found.append((x, y))
    return found


def rectangle(centre: tuple[float, float], size: tuple[float, float]) -> style.Rectangle:
    """Of a size around its centre."""
    return centre[0] - size[0] / 2, centre[1] - size[1] / 2, centre[0] + size[0] / 2, centre[1] + size[1] / 2
