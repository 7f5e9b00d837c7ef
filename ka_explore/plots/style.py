"""Looks that every picture shares: colours and markers of nets, sizes of type, what stands around the axes.

A teacher keeps its colour and its marker in every picture (by its place in the problem), the student is dark with
a round marker. Colours are Okabe and Ito's, which stay apart under colour blindness; markers and dashes say the same
in greyscale.
"""

import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import cycle
from typing import Annotated, Any

import numpy as np
from matplotlib import color_sequences, colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.figure import Figure, FigureBase
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend

from ka_explore.errors import InputError, brief, check_between, check_known, checked

STUDENT = "#222222"
TEACHERS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
# Terms of the loss and runs are no nets: they share no colour with them, nor with each other.
TERMS = ("#4d3b6b", "#a0522d", "#9a7fb8", "#c9a26b", "#6b6b6b", "#5f7a61", "#d3a4c4")
RUNS = ("#332288", "#882255", "#117733", "#999933", "#44aa99", "#aa4499", "#661100")  # Tol's muted scheme
MARKERS = ("^", "s", "D", "v", "P", "X", "*")
DASHES = ("-", "--", ":", "-.")
LEVELS: tuple[Any, ...] = ((0, (6, 3)), (0, (1.5, 2)), (0, (6, 2, 1.5, 2)))  # dashes of chance, floors and the like
UNKNOWN = "#bbbbbb"  # what has no class, no value
QUIET = "#555555"  # notes, levels, marks


@checked
def colour_of(net: str, nets: Sequence[str]) -> str:
    """The colour a net has in every picture of its problem."""
    return STUDENT if net == "student" else TEACHERS[place_of_net(net, nets) % len(TEACHERS)]


def colours_of_terms(terms: Iterable[str]) -> dict[str, str]:
    """The colours of a loss's terms, by their order."""
    return dict(zip(terms, cycle(TERMS), strict=False))


@checked
def marker_of(net: str, nets: Sequence[str]) -> str:
    """The marker a net has in every picture of its problem."""
    return "o" if net == "student" else MARKERS[place_of_net(net, nets) % len(MARKERS)]


def place_of_net(net: str, nets: Sequence[str]) -> int:
    """A teacher's place among the teachers. Raises InputError for an unknown one."""
    teachers = [name for name in nets if name != "student"]
    check_known("net", net, teachers)
    return teachers.index(net)


@checked
def class_colours(count: int) -> list[Any]:
    """Colours of so many classes, up to 100 000.

    Ten stay apart under colour blindness; the next ten are their dark shades; more are a spread of a wide map.
    """
    check_between("count", count, 0, 100_000)
    if count <= 20:
        ten = [to_rgb(colour) for colour in color_sequences["petroff10"]]
        return [*ten, *(tuple(0.5 * part for part in colour) for colour in ten)][:count]
    return [colormaps["turbo"](i / (count - 1)) for i in range(count)]


@checked
def label_colours(labels: Sequence[str], legend: str) -> list[Any]:
    """Colours of the labels of points: those of the nets where the labels are nets, else of classes."""
    if legend in ("teacher", "net"):
        return [colour_of(label, labels) for label in labels]
    return class_colours(len(labels))


def check_colours(colours: Mapping[str, str] | None) -> None:
    """Raises InputError for what is no colour of matplotlib's."""
    for name, colour in (colours or {}).items():
        if not is_color_like(colour):
            raise InputError(f"the colour of {name!r} is {brief(colour)}: expected one of matplotlib's, as '#0072B2'.")


hexadecimal = to_hex  # a colour as a page writes it, ``#rrggbb``


@checked
def plain(text: str) -> str:
    """A name as it stands: matplotlib would read ``$`` as mathematics and leave a leading ``_`` out of legends."""
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def finite(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """The finite values of arrays, in one row."""
    values = np.concatenate([*map(np.ravel, arrays), np.zeros(0)])
    return values[np.isfinite(values)]


def axes_of(ax: Axes | None, size: tuple[float, float] = (6.0, 4.5)) -> Axes:
    """The axes handed in, or those of a new figure, which a notebook with pyplot's inline figures shows below the cell.

    Anywhere else it belongs to nobody but the caller. Raises InputError for what is no axes of a figure, and for axes
    with another projection.
    """
    if ax is None:
        pyplot = sys.modules.get("matplotlib.pyplot")
        new = pyplot.figure if pyplot is not None and "inline" in pyplot.get_backend() else Figure
        axes: Axes = new(figsize=size, layout="constrained").add_subplot()
        return axes
    if not isinstance(ax, Axes) or ax.figure is None or ax.name != "rectilinear":
        raise InputError(
            f"ax={brief(ax)}: expected plain axes that stand in a figure, one of what plt.subplots() gives, not polar "
            "ones or of another projection."
        )
    return ax


def room_of(ax: Axes) -> tuple[float, float]:
    """Width and height in points that the figure has for the axes and all that stands around them."""
    width, height = whole(ax)
    spec = ax.get_subplotspec()
    if spec is None:
        return width * ax.get_position().width, height * ax.get_position().height
    rows, columns = spec.get_gridspec().get_geometry()
    return width * len(spec.colspan) / columns, height * len(spec.rowspan) / rows


def whole(ax: Axes) -> tuple[float, float]:
    """Width and height in points of the figure (or the part of one) that the axes are in."""
    figure: Any = ax.figure
    if isinstance(figure, Figure):
        return 72 * float(figure.get_figwidth()), 72 * float(figure.get_figheight())
    box, dpi = figure.bbox, figure.figure.dpi
    return 72 * box.width / dpi, 72 * box.height / dpi


def type_of(ax: Axes) -> float:
    """The size of type that reads well, in points: 7 in a column of 3.3 inches, 14 on a projector of 10.

    It grows with the figure, which is shown as a whole, and with the axes' part of it, where it must have room.
    """
    (width, height), (part, tall) = whole(ax), room_of(ax)
    inches = min((width * part) ** 0.5, 1.8 * (height * tall) ** 0.5) / 72
    return float(min(max(3.6 + 1.04 * inches, 6.0), 16.0))


LONGEST = 1000  # letters of a line that are measured
ruler = lru_cache(partial(RendererAgg, 16, 16, 72))  # measures text: 72 dots an inch, so that a dot is a point


@lru_cache(maxsize=4096)
def width_of(text: str, size: float, weight: str = "normal") -> float:
    """Width in points of the widest line of a text, as far as any page could show it."""
    font = FontProperties(size=size, weight=weight)
    lines = text.replace(r"\$", "S").split("\n")
    widths = (ruler().get_text_width_height_descent(line[:LONGEST], font, ismath=False)[0] for line in lines if line)
    return max(widths, default=0.0)


Rectangle = tuple[float, float, float, float]  # left, lower, right and upper edge, or upper before lower


def meet(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles overlap."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def wrapped(text: str, width: float, size: float) -> str:
    """A text broken into lines that are at most so many points wide, at blanks where there are any."""
    if width_of(text, size) <= width:
        return text
    each = width_of(text, size) / max(len(line) for line in text.split("\n"))
    letters = max(int(width / each), 6)
    return "\n".join("\n".join(textwrap.wrap(line, letters)) or "" for line in text.split("\n"))


def shortened(text: str, width: float, size: float) -> str:
    """A name in at most so many points: its middle gives way to ``…``, as names often differ at their ends."""
    if width_of(text, size) <= width:
        return text
    bare = text.replace(r"\$", "$")
    most = min(len(bare) - 1, int(width / (0.2 * size)) + 2)  # no letter is narrower than a fifth of its size
    halves = (((kept + 1) // 2, len(bare) - kept // 2) for kept in range(most, 1, -1))
    shorter = ((bare[:start] + "…" + bare[end:]).replace("$", r"\$") for start, end in halves)
    return next((short for short in shorter if width_of(short, size) <= width), bare[:1].replace("$", r"\$") + "…")


def dress(
    ax: Axes, *, title: str = "", x: str = "", y: str = "", note: str = "", above: float = 0.0, framed: bool = True
) -> None:
    """Write what stands around the axes, in type that fits the figure.

    The title stands so many points ``above``, the note smaller under all; lines above and right only where ``framed``.
    """
    size, (width, height) = type_of(ax), room_of(ax)
    ax.set_title(wrapped(plain(title), 0.85 * width, 1.1 * size), fontsize=1.1 * size, pad=above + 0.5 * size)
    ax.set_xlabel(wrapped(plain(x), 0.8 * width, size), fontsize=size)
    ax.set_ylabel(wrapped(plain(y), 0.7 * height, size), fontsize=size)
    ax.tick_params(which="both", labelsize=0.85 * size, length=0.3 * size, width=0.07 * size, pad=0.25 * size)
    for spine in ax.spines.values():
        spine.set_linewidth(0.07 * size)
        spine.set_color("#888888")
    if not framed:
        ax.spines[["top", "right"]].set_visible(False)
    if note:  # under the horizontal axis and its name, where no point can be
        wide, size = max(width - 6 * size, 0.6 * width), 0.8 * size
        ax.annotate(
            wrapped(plain(note), wide, size), xy=(0.0, 0.0), xycoords=("axes fraction", ax.xaxis.label), va="top",
            xytext=(0, -0.5 * size), textcoords="offset points", fontsize=size, color=QUIET, annotation_clip=False,
        )  # fmt: skip


Empty = Annotated[Figure | None, "or a part of one, see laid_out"]


def laid_out(figure: Any) -> Any:
    """An empty figure, or a part of one, that is to be filled, with a layout that gives legends room, if it has none.

    Raises InputError for anything else.
    """
    if not isinstance(figure, FigureBase):
        raise InputError(f"figure must be a Figure of matplotlib, got {brief(figure)}.")
    if isinstance(figure, Figure) and figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    return figure


def beside(ax: Axes, handles: Sequence[Any], *, columns: int = 1, size: float = 0.0) -> Legend:
    """A legend to the right of the axes, at their top, where it hides nothing."""
    return ax.legend(
        handles=list(handles), loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3, borderpad=0.2,
        fontsize=size or 0.8 * type_of(ax), frameon=False, ncols=columns, handletextpad=0.5, handlelength=1.8,
        columnspacing=0.8, labelspacing=0.25,
    )  # fmt: skip
