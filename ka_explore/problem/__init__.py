"""What is amalgamated: teachers, an unlabelled pool, a student, and the labels they know.

Its modules are imported by name, so that those which need no torch bring none.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ka_explore.problem.problem import Labelled, Problem

__all__ = ["Labelled", "Problem"]


def __getattr__(name: str) -> Any:
    """What stands in `ka_explore.problem.problem`, imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ka_explore.problem import problem

    return getattr(problem, name)
