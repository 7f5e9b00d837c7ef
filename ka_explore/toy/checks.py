"""What the arguments of every toy problem must be."""

from typing import Any

import numpy as np

from ka_explore.errors import InputError, brief

MOST_SEED = 2**32 - 1


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """The value, if it is a whole number in the range; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, got {brief(value)}.")
    return int(value)


def share(name: str, value: Any) -> float:
    """The value, if it is a number from 0 to 1; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f"{name} must be a number from 0 (all labels right) to 1 (all wrong), got {brief(value)}.")
    return float(value)
