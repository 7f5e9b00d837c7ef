"""Which workbenches stand in the output of a cell; each ends when every such cell was run again without it.

Only Python is asked, so a page that is loaded anew, a notebook that is closed and opened again, and a second view of an
output end nothing. A cell is known by the id that the front end gives (JupyterLab, Notebook 7), else by its text.
"""

from typing import Any, Protocol

NEW = object()  # the cell at hand, whose name is known when it is over
UNKNOWN = object()  # displayed between two cells: nobody can say by which


class Ends(Protocol):
    """What can be displayed, and ended with the reason in words."""

    def end(self, why: str) -> None:
        """It is not needed any more."""


SHOWN: dict[Ends, set[Any]] = {}
"""What is displayed, and the cells in whose output it stands; it is held for as long."""


def displayed(bench: Ends) -> None:
    """Note that this is displayed now."""
    from IPython import get_ipython

    SHOWN.setdefault(bench, set()).add(NEW)
    events = getattr(get_ipython(), "events", None)
    if events is not None and after_cell not in events.callbacks["post_run_cell"]:
        events.register("pre_run_cell", before_cell)
        events.register("post_run_cell", after_cell)


def before_cell(_info: Any) -> None:
    """What was displayed since the last cell was over belongs to none."""
    for cells in SHOWN.values():
        if NEW in cells:
            cells.remove(NEW)
            cells.add(UNKNOWN)


def after_cell(result: Any) -> None:
    """What a cell displayed stands in its output, and nothing else does any more."""
    cell = getattr(result.info, "cell_id", None) or result.info.raw_cell
    for bench, cells in list(SHOWN.items()):
        if NEW in cells:
            cells.remove(NEW)
            cells.add(cell)
        else:
            cells.discard(cell)
        if not cells:
            bench.end("its cell was run again without it")
