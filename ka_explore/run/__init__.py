"""What happened: a recorded history with a movable cursor, its steps, its snapshots, its folder.

Its modules are imported by name, so that those which need no torch bring none.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ka_explore.run.run import Run

__all__ = ["Run"]


def __getattr__(name: str) -> Any:
    """What stands in `ka_explore.run.run`, imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ka_explore.run import run

    return getattr(run, name)
