"""Panels for notebooks: play a run, look inside, try something else, compare; linked, and each usable alone.

Start with ``workbench(run)`` as the last line of a cell.
"""

import warnings
from importlib.util import find_spec
from typing import Any

missing = [name for name in ("anywidget", "ipywidgets", "matplotlib") if find_spec(name) is None]
if missing:
    raise ImportError(
        f"the panels need {', '.join(missing)}, which is not installed: pip install 'ka-explore[lab]'. Everything else "
        "of ka_explore works without."
    )

from ka_explore.panels.workbench import PANELS, Workbench, workbench  # noqa: E402

__all__ = ["PANELS", "Workbench", "workbench"]


def __getattr__(name: str) -> Any:
    """The old name of `PANELS`, for one version."""
    if name == "PARTS":
        warnings.warn("ka_explore.panels.PARTS is PANELS since version 0.2.", FutureWarning, stacklevel=2)
        return PANELS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
