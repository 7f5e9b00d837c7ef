"""A progress bar in terminal and notebook, silent where nobody watches."""

import sys
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    return "ipykernel" in sys.modules and "IPython" in sys.modules


def progress_bar(
    total: int, description: str, *, unit: str = "step", show: bool | None = None
) -> AbstractContextManager[Any]:
    """A tqdm bar: a widget in a notebook with ipywidgets, text elsewhere.

    Args:
        show: True or False to decide; None shows it in a notebook and on a terminal, never in a log file.
    """
    options: dict[str, Any] = {"total": total, "desc": description, "unit": unit, "leave": False, "delay": 0.5}
    if in_notebook() and find_spec("ipywidgets") is not None and show is not False:
        from tqdm.notebook import tqdm as notebook_bar

        bar: AbstractContextManager[Any] = notebook_bar(**options)
        return bar
    from tqdm import tqdm

    text: AbstractContextManager[Any] = tqdm(**options, disable=None if show is None else not show, file=sys.stderr)
    return text
