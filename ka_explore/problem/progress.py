"""A progress bar in terminal and notebook, silent where nobody watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any

Watcher = Callable[[str, float], None]
"""Told what is being done and how far it is, 0 to 1; 1 also when it is over."""

WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Within the ``with``, in this thread: progress goes to the watcher, and no bar is drawn."""
    token = WATCHER.set(watcher)
    try:
        yield
    finally:
        WATCHER.reset(token)


class WatchedBar:
    """A bar that tells a watcher; it has the methods of tqdm's bar that are used here."""

    def __init__(self, watcher: Watcher, total: int, description: str):
        self.watcher, self.total, self.description, self.n = watcher, total, description, 0

    def __enter__(self) -> "WatchedBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher(self.description, 1.0)

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.n += n
        self.watcher(self.description, min(self.n / max(self.total, 1), 1.0))

    def set_postfix_str(self, words: str, refresh: bool = True) -> None:
        """What tqdm writes behind its bar; watchers are told the description only."""


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel; to have imported one's modules is not enough."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def progress_bar(
    total: int, description: str, *, unit: str = "step", show: bool | None = None
) -> AbstractContextManager[Any]:
    """A tqdm bar, a widget in a notebook with ipywidgets; where ``show`` is None it is never shown in a log file."""
    watcher = WATCHER.get()
    if watcher is not None:
        return WatchedBar(watcher if show is not False else lambda _what, _share: None, total, description)
    options: dict[str, Any] = {"total": total, "desc": description, "unit": unit, "leave": False, "delay": 0.5}
    if in_notebook() and find_spec("ipywidgets") is not None and show is not False:
        from tqdm.notebook import tqdm as notebook_bar

        return notebook_bar(**options)
    from tqdm import tqdm

    return tqdm(**options, disable=None if show is None else not show, file=sys.stderr)
