"""Figures as files: never half a file, and the same bytes for the same figure."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from matplotlib import rc_context
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.figure import Figure

from ka_explore.errors import InputError, StoreError, brief, check_between, checked, short
from ka_explore.plots.scatter import common_limits, common_range, draw_points
from ka_explore.plots.style import plain, type_of
from ka_explore.probes.results import Points, heading

# What would put the date of saving into the file, by format.
UNDATED: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None, "Creator": "ka_explore"},
    ".pdf": {"CreationDate": None, "ModDate": None, "Creator": "ka_explore", "Producer": None},
    ".png": {"Software": "ka_explore"},
}


@checked
def save(figure: Figure, path: str | Path, *, dpi: float = 150) -> Path:
    """Write a figure as SVG, PNG (10 to 1200 dots an inch) or PDF, by the file's ending; text stays text in others.

    A file that is there is replaced once the new one is whole. Raises InputError for another ending or a folder that
    is not there, StoreError where the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    check_between("dpi", dpi, 10, 1200)
    if ending not in UNDATED:
        endings = ", ".join(sorted(UNDATED))
        raise InputError(f"cannot save {short(path.name)!r}: expected a name that ends in {endings}.")
    # fixed ids, and letters instead of outlines
    style: Any = {"svg.hashsalt": "ka_explore", "svg.fonttype": "none", "pdf.fonttype": 42}
    with rc_context(style), replacing(path) as part:
        figure.savefig(part, format=ending[1:], dpi=dpi, metadata=UNDATED[ending])
    return path


@checked
def save_film(frames: Sequence[Points], path: str | Path, *, seconds: float = 0.5, title: str = "") -> Path:
    """Write pictures of points one after the other as an animated GIF with the same axes throughout.

    The ``title`` stands before each frame's own. Raises InputError for no frame, another ending than ``.gif``,
    ``seconds`` a frame that are not 0.01 to 600, or a folder that is not there.
    """
    path = Path(path)
    if not frames:
        raise InputError("a film needs at least one frame, got none.")
    if path.suffix.lower() != ".gif":
        raise InputError(f"cannot save {short(path.name)!r}: expected a name that ends in .gif.")
    check_between("seconds", seconds, 0.01, 600)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    limits, range_ = common_limits(frames), common_range(frames)

    def show(index: int) -> list[Any]:
        figure.clear()
        ax = figure.add_subplot()
        draw_points(frames[index], ax, limits=limits, range_=range_)
        words = " · ".join(part for part in (title, heading(frames[index])) if part)
        ax.set_title(plain(words), fontsize=1.1 * type_of(ax))
        return []

    film = FuncAnimation(figure, show, frames=len(frames), init_func=lambda: [], cache_frame_data=False)
    with replacing(path, ending=".gif") as part:
        rate: Any = 1 / seconds  # matplotlib's annotation wants a whole number, Pillow does not
        film.save(str(part), writer=PillowWriter(fps=rate), dpi=100)
    return path


@contextmanager
@checked
def replacing(path: Path, *, ending: str = ".part") -> Iterator[Path]:
    """A file beside the path to be written; it takes the path's place when all is written, and goes otherwise.

    Raises InputError where there is no such folder, StoreError where the file cannot be written.
    """
    if not path.parent.is_dir():
        folder = short(str(path.parent))
        raise InputError(f"cannot save {short(path.name)!r}: there is no folder {folder!r}. Make it first.")
    if Path(ending).name != ending or len(ending) > 16:
        raise InputError(f"ending={brief(ending)}: expected a few letters, as '.part'.")
    part = path.parent / f".{uuid4().hex}{ending}"
    try:
        part.touch(exist_ok=False)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise StoreError(f"cannot write {short(str(path))}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
