"""What a row of `ka_explore.probes.PROBES` is: a function of a snapshot, with what it needs beside it.

Every probe raises InputError, which says what there is, where the stage does not emit what it needs, and where labels
are needed and the pool has none.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import update_wrapper, wraps
from inspect import signature
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar

from ka_explore.errors import checked
from ka_explore.probes.results import Result
from ka_explore.run.snapshot import Snapshot

P = ParamSpec("P")
R = TypeVar("R", bound=Result, covariant=True)
T = TypeVar("T")


class Probe(Generic[P, R]):
    """A function from a snapshot to a result, which carries the snapshot's step. Made by `probe`.

    Raises InputError for arguments that do not fit the function's type hints.
    """

    def __init__(
        self,
        function: Callable[Concatenate[Snapshot, P], R],
        needs: tuple[str, ...] = (),
        labels: Literal["unread", "used", "needed"] = "unread",
    ):
        door = checked(function)
        self.function = space_was_of(door) if "space" in signature(function).parameters else door
        self.needs, self.labels = needs, labels
        update_wrapper(self, self.function)

    def __call__(self, snapshot: Snapshot, *arguments: P.args, **options: P.kwargs) -> R:
        """What the probe says of a snapshot."""
        return replace(self.function(snapshot, *arguments, **options), step=snapshot.step)

    def fits(self, names: Iterable[str]) -> bool:
        """Whether a snapshot with arrays of these names has what is needed."""
        return not self.needs or any(fnmatchcase(name, pattern) for name in names for pattern in self.needs)


def probe(
    *needs: str, labels: Literal["unread", "used", "needed"] = "unread"
) -> Callable[[Callable[Concatenate[Snapshot, P], R]], Probe[P, R]]:
    """Make a function a probe that needs arrays (as ``common/*``; of several one is enough) and reads labels or not."""
    return lambda function: Probe(function, needs, labels)


def space_was_of(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function go on taking its ``space`` as ``of``, with a warning that tells the new word."""

    @wraps(function)
    def called(*arguments: Any, **options: Any) -> T:
        if "of" in options:
            warnings.warn("of= is space= since version 0.2.", FutureWarning, stacklevel=2)
            options["space"] = options.pop("of")
        return function(*arguments, **options)

    return called
