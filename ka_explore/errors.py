"""What can go wrong, by name: every message says what was expected, what was got, and what to do."""

import difflib
from collections.abc import Collection, Iterable


class KaError(Exception):
    """Base of every error this package raises on purpose; the command line prints it as one line."""


class InputError(KaError, ValueError):
    """Something handed in does not fit: an unknown name, a wrong shape, type or range."""


class NotApplicable(KaError):
    """A change was asked for that cannot be applied at that step of a run."""


class Diverged(KaError):
    """A loss term or a gradient became NaN or infinite; the run stands at the last good step.

    Attributes:
        step: the step that could not be taken (steps done before it are kept).
        terms: names of the terms, or ``gradient``, that were not finite.
    """

    def __init__(self, message: str, *, step: int, terms: tuple[str, ...]):
        super().__init__(message)
        self.step = step
        self.terms = terms


class StoreError(KaError, OSError):
    """A run folder cannot be read or written; what was written before is still there."""


class ReplayMismatch(KaError):
    """A replayed step gave another row than the recorded one: determinism is broken, the past is kept."""


def unknown(kind: str, name: object, known: Iterable[object], *, where: str = "") -> InputError:
    """An ``InputError`` for a name that is not in a list, with the nearest known name if there is one."""
    names = [str(k) for k in known]
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {str(name)!r}{where}.{hint} Known: {', '.join(names) or '(none)'}.")


def check_known(kind: str, name: object, known: Collection[object], *, where: str = "") -> None:
    """Raises InputError for a name that is not in a collection; see `unknown`."""
    if name not in known:
        raise unknown(kind, name, known, where=where)
