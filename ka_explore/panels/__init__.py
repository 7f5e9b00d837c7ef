"""Panels for notebooks: play a run, look inside, try something else, compare; linked, and each usable alone.

Start with ``workbench(run)`` as the last line of a cell.
"""

from importlib.util import find_spec

missing = [name for name in ("anywidget", "ipywidgets", "matplotlib") if find_spec(name) is None]
if missing:
    raise ImportError(
        f"the panels need {', '.join(missing)}, which is not installed: pip install 'ka-explore[lab]'. Everything else "
        "of ka_explore works without."
    )

from ka_explore.panels.workbench import PANELS, Workbench, workbench  # noqa: E402

__all__ = ["PANELS", "Workbench", "workbench"]
