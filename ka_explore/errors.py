"""What can go wrong, by name: every message says what was expected, what was got, and what to do.

`checked` holds what is handed to a public function against its type hints; `theirs` calls what a user wrote.
"""

import difflib
import functools
import inspect
import math
import os
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

Door = TypeVar("Door", bound=Callable[..., Any])
Number = Annotated[float, "NaN where there is none"]
"""A number that was measured, which may be NaN or infinite; what is a ``float`` alone is finite for `checked`."""


LONGEST_RANGE = 1_000_000


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
    return InputError(f"unknown {kind} {short(str(name))!r}{where}.{hint} Known: {', '.join(names) or '(none)'}.")


def short(text: str, most: int = 60) -> str:
    """The start of a text, as much as a message has room for."""
    return text if len(text) <= most else f"{text[: most - 3]}…"


def check_known(kind: str, name: object, known: Collection[object], *, where: str = "") -> None:
    """Raises InputError for a name that is not in a collection; see `unknown`."""
    if not isinstance(name, str):
        raise InputError(f"{kind} must be text, got {brief(name)}. Known: {', '.join(map(str, known)) or '(none)'}.")
    if name not in known:
        raise unknown(kind, name, known, where=where)


def check_between(name: str, value: float, least: float, most: float) -> None:
    """Raises InputError for a number out of a range."""
    if not least <= value <= most:
        raise InputError(f"{name}={brief(value)}: expected {least:g} to {most:g}.")


def checked(door: Door) -> Door:
    """A function, or a class by its ``__init__``, that refuses arguments which do not fit its type hints.

    The door raises InputError, before anything is done. Stricter than Python where a slip is likely: True is no
    number, NaN and infinity are none, a text is no sequence, and text must be writable as UTF-8. Hints that cannot be
    read (names known to the type checker only) let everything pass.
    """
    if isinstance(door, type):
        door.__init__ = checked(door.__init__)  # type: ignore[misc]
        return door
    signature, owner = inspect.signature(door), door.__qualname__.removesuffix(".__init__")
    names = getattr(inspect.unwrap(door), "__globals__", {})

    @functools.cache
    def hints() -> dict[str, Any]:
        return {name: hint_of(p, names) for name, p in signature.parameters.items()}

    @functools.wraps(door)
    def inside(*given: Any, **named: Any) -> Any:
        try:
            arguments = signature.bind(*given, **named).arguments
        except TypeError:  # too many, too few, unknown: Python's own words are the clearest
            return door(*given, **named)
        for name, value in arguments.items():
            kind = signature.parameters[name].kind
            each = {name: value}
            if kind is inspect.Parameter.VAR_KEYWORD:
                each = value
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                each = {f"{name}[{i}]": one for i, one in enumerate(value)}
            for what, one in each.items():
                if not fits(one, hint := hints()[name]):
                    if get_origin(hint) is Literal and isinstance(one, str):
                        check_known(what, one, get_args(hint))
                    raise InputError(f"{owner}: {what} must be {in_words(hint)}, got {brief(one)}.")
        return door(*given, **named)

    return inside  # type: ignore[return-value]


def hint_of(parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    """A parameter's type hint, read where it was written; Any where there is none or it cannot be read."""
    hint = parameter.annotation
    if hint is inspect.Parameter.empty:
        return Any
    if isinstance(hint, str):
        try:
            hint = eval(hint, names)  # the module's own source, not a user's text
        except (NameError, AttributeError):
            return Any
    return hint | None if parameter.default is None and isinstance(hint, type) else hint


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of the type that a hint tells, with all that it holds."""
    kind, inner = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return True
    if kind in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if kind is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if hint is None or hint is types.NoneType:
        return value is None
    if hint == Number:
        return is_number(value, Real, finite=False)
    if hint in (int, float):
        return is_number(value, Integral if hint is int else Real)
    if hint is str:
        return isinstance(value, str) and is_writable(value)
    kind = kind or hint
    if not isinstance(kind, type) or hasattr(hint, "__metadata__"):  # an alias, or what the door checks itself
        return True
    if hasattr(kind, "array_type"):  # a jaxtyping hint: its shape and type of number are the door's to check
        return fits(value, kind.array_type)
    if kind is type:
        return isinstance(value, type) and (not inner or not isinstance(inner[0], type) or issubclass(value, inner[0]))
    if issubclass(kind, os.PathLike):
        return isinstance(value, kind) and "\0" not in str(value)
    if not isinstance(value, kind) or (isinstance(value, (str, bytes)) and kind is not bytes):
        return False
    if not inner or kind is get_origin(Callable[[], Any]):
        return True
    if isinstance(value, range):  # its parts are alike, and may be more than anything can hold
        return not value[LONGEST_RANGE:] and all(fits(one, inner[0]) for one in value[:1])
    if isinstance(value, Mapping):
        return all(fits(key, inner[0]) and fits(one, inner[1]) for key, one in value.items())
    if isinstance(value, tuple) and kind is tuple and inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(map(fits, value, inner))
    return not isinstance(value, (Sequence, set, frozenset)) or all(fits(one, inner[0]) for one in value)


def is_number(value: object, kind: type, *, finite: bool = True) -> bool:
    """Whether it is a number of a kind; True and False are none, and none is beyond those of a float."""
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    try:
        return math.isfinite(value) or not finite  # type: ignore[arg-type]
    except OverflowError:  # a whole number beyond them, which may be too long to be told
        return False


def is_writable(text: str) -> bool:
    """Whether a text can be written to a file and to a file's name: no half of a surrogate pair, no NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def in_words(hint: Any) -> str:
    """A type hint as a message tells it: ``a whole number or None``."""
    words: dict[Any, str] = {int: "a whole number", float: "a finite number", str: "text", bool: "True or False"}
    words |= {None: "None", types.NoneType: "None", Any: "anything", object: "anything", Number: "a number"}
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(in_words(one) for one in inner))
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind is get_origin(Callable[[], Any]):
        return "a function"
    if kind in (Sequence, list, set, frozenset, Iterable, Collection) and inner:
        return f"a sequence, each {in_words(inner[0])}"
    if kind is tuple:
        each = inner[:1] if inner[-1] is Ellipsis else inner
        return "a tuple of " + ", ".join(map(in_words, each))
    if kind is type and inner:
        return f"a class made from {getattr(inner[0], '__name__', inner[0])}"
    if kind is Mapping or kind is dict:
        return f"a mapping from {in_words(inner[0])} to {in_words(inner[1])}"
    if hasattr(hint, "array_type"):
        return in_words(hint.array_type)
    name = str(getattr(kind or hint, "__name__", hint))
    return words.get(hint) or f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"


def brief(value: object) -> str:
    """A value in a message: its type, and its shape or the start of what Python prints of it."""
    try:
        shape = getattr(value, "shape", None)
        text = f"of shape {tuple(shape)}" if shape and isinstance(shape, tuple) else repr(value)
    except Exception:  # a value whose own printing fails is still to be told of
        text = "…"
    return f"{short(text)} ({type(value).__name__})"


def theirs(what: str, function: Callable[..., Any], *given: Any) -> Any:
    """What a user's function returns; ``what`` names it ("augment of the pool").

    Raises InputError with the function's own error as its cause; an error of this package passes as it is.
    """
    try:
        return function(*given)
    except KaError:
        raise
    except Exception as error:
        raise InputError(
            f"{what} ({getattr(function, '__qualname__', type(function).__name__)}) failed with "
            f"{type(error).__name__}: {short(str(error), 500)} Its own traceback is above; given were "
            f"{', '.join(map(told, given)) or 'no arguments'}."
        ) from error


def told(value: object) -> str:
    """An argument in a message: a tensor by its shape."""
    try:
        return f"{type(value).__name__} {tuple(value.shape)}"  # type: ignore[attr-defined]
    except Exception:  # without a shape, or not to be asked for one
        return brief(value)
