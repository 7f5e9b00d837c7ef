"""Options of a method: one frozen dataclass is slider, command-line option and file.

A field is written ``name: type = option(default, "what it means", …)``. Everything that shows or reads options
is made from these fields, so a choice stands in one place.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self
from weakref import WeakKeyDictionary

from ka_explore.errors import InputError, brief, check_known, fits

MOST_NUMBERS = 64  # of one option: each bandwidth of an MMD, say, takes memory and time
MOST_NAMES = 1024  # of teachers or layers


def option(
    default: Any, text: str, *, low: float | None = None, high: float | None = None, log: bool = False, weighs: str = ""
) -> Any:
    """A field of a Config: default, meaning, range; ``log`` for its slider, ``weighs`` for the term that it weighs."""
    about = {"text": text, "low": low, "high": high, "log": log, "weighs": weighs}
    return dataclasses.field(default=default, metadata=about)


def weight(default: float, text: str, term: str) -> Any:
    """A field of a Config that weighs a term of the loss, 0 to 1000."""
    return factor(default, text, high=1000.0, weighs=term)


def factor(default: float, text: str, *, low: float = 0.0, high: float = 100.0, weighs: str = "") -> Any:
    """A field of a Config that multiplies or divides something; its slider is logarithmic."""
    return option(default, text, low=low, high=high, log=True, weighs=weighs)


@dataclass(frozen=True)
class TrainingConfig:
    """What every method that trains has: how long, how fast, on how much at a time.

    A config is frozen; ``replace`` makes another one. Raises InputError for values of another type, out of
    range, or not among the choices.
    """

    steps: int = option(400, "steps of the method, one batch each", low=0, high=1_000_000, log=True)
    batch_size: int = option(64, "images a step", low=1, high=4096, log=True)
    learning_rate: float = option(3e-3, "largest learning rate", low=0.0, high=10.0, log=True)
    schedule: Literal["constant", "cosine", "step"] = option(
        "cosine", "learning rate over the steps: constant; half a cosine down to zero; a tenth from the half on"
    )
    weight_decay: float = option(1e-4, "L2 penalty on the weights, added to the gradient", low=0.0, high=1.0, log=True)
    optimizer: Literal["adam", "sgd"] = option("adam", "Adam, or SGD with momentum 0.9")
    student_width: float = factor(1.0, "channels of the student relative to the problem's own", low=0.1, high=16.0)

    def __post_init__(self) -> None:
        for name, field in options_of(type(self)).items():
            object.__setattr__(self, name, checked(field, getattr(self, name)))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A config from options by name. Raises InputError for an unknown one, with the nearest known name."""
        for name in values:
            check_known("option", name, options_of(cls))
        return cls(**values)

    def replace(self, **changes: Any) -> Self:
        """A config with other values for some options."""
        return self.of(dataclasses.asdict(self) | changes)


@dataclass(frozen=True)
class Option:
    """One field of a config as the controls and the command line see it; ``part`` is what a tuple is made of."""

    name: str
    kind: type
    part: type
    choices: tuple[Any, ...] | None
    optional: bool
    default: Any
    text: str
    low: float | None
    high: float | None
    log: bool
    weighs: str


def options_of(config: type[TrainingConfig]) -> Mapping[str, Option]:
    """The options of a config class by name, in order; read once, as every config that is made asks for them."""
    if config not in READ:
        READ[config] = MappingProxyType(read_options(config))
    return READ[config]


READ: "WeakKeyDictionary[type[TrainingConfig], Mapping[str, Option]]" = WeakKeyDictionary()


def read_options(config: type[TrainingConfig]) -> dict[str, Option]:
    """The same, from the class's fields."""
    hints = typing.get_type_hints(config)
    found = {}
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        optional = type(None) in typing.get_args(hint)
        if optional:
            hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else None
        kind = str if choices else (typing.get_origin(hint) or hint)
        part = typing.get_args(hint)[0] if kind is tuple else kind
        found[field.name] = Option(field.name, kind, part, choices, optional, field.default, **field.metadata)
    return found


def checked(field: Option, value: Any) -> Any:
    """The value as the option's type. Raises InputError that says what was expected."""
    if value is None and field.optional:
        return None

    def refused(expected: str) -> InputError:
        return InputError(f"{field.name}={brief(value)}: expected {expected}.")

    if field.choices is not None and not (isinstance(value, str) and value in field.choices):
        raise refused(f"one of {', '.join(map(repr, field.choices))}")
    if field.kind is not tuple:
        parts = [value]
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    else:
        raise refused(f"a tuple of {field.part.__name__}")
    most = MOST_NAMES if field.part is str else MOST_NUMBERS
    if len(parts) > most or (field.default and not parts):
        raise refused(f"{1 if field.default else 0} to {most} of them")
    low, high = -math.inf if field.low is None else field.low, math.inf if field.high is None else field.high
    for each in parts:
        whole = field.part is int and isinstance(each, float) and each.is_integer()
        if not (fits(each, field.part) or whole):
            raise refused(field.kind.__name__)
        if field.part in (int, float) and not low <= each <= high:
            raise refused(f"{field.low} to {field.high}")
    converted = tuple(map(field.part, parts))
    return converted if field.kind is tuple else converted[0]


def typed(value: Any) -> str:
    """An option's value as it would be typed; `parse` reads it back."""
    if isinstance(value, tuple):
        return ",".join(part if isinstance(part, str) else f"{part:g}" for part in value)
    return "none" if value is None else str(value)


def parse(field: Option, text: str) -> Any:
    """An option's value from text, as on a command line (``0.5``, ``true``, ``none``, ``0.2,1,2``)."""
    if field.optional and text.lower() in ("none", ""):
        return None
    if field.kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise InputError(f"{field.name}={text!r}: expected true or false.")
        return words[text.lower()]
    try:
        if field.kind is tuple:
            return tuple(field.part(part.strip()) for part in text.split(",") if part.strip())
        return field.kind(text)
    except ValueError as error:
        raise InputError(f"{field.name}={text!r}: expected {field.kind.__name__}.") from error
