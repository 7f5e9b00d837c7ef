"""The ways to draw rows in the plane: their names, options, and how long they take."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Annotated

import numpy as np

from ka_explore.errors import InputError, brief, check_between, checked, unknown

Options = Mapping[str, float]
Setting = Annotated[float, "held against LIMITS"]
"""The value of an option, which `checked_options` looks at."""
Watch = Callable[[float, str], None]
"""Told how far a computation is, 0 to 1, and in words."""

OPTIONS: Mapping[str, Mapping[str, float]] = {
    "pca": {},
    "class_axes": {},
    "tsne": {"perplexity": 30.0, "iterations": 1000, "exaggeration": 12.0, "seed": 0},
    "umap": {"neighbours": 15, "min_dist": 0.1, "epochs": 200, "seed": 0},
    "aligned_umap": {"neighbours": 15, "min_dist": 0.1, "epochs": 200, "alignment": 0.01, "window": 3, "seed": 0},
}
"""The ways to draw, with their options and defaults."""

NAMES: Mapping[str, str] = {
    "pca": "PCA", "class_axes": "class axes", "tsne": "t-SNE", "umap": "UMAP", "aligned_umap": "aligned UMAP",
}  # fmt: skip
LIMITS: Mapping[str, tuple[float, float]] = {  # least and greatest value of an option
    "perplexity": (1, 1e6),
    "iterations": (250, 1e6),
    "exaggeration": (1, 1e3),
    "neighbours": (2, 1e6),
    "min_dist": (0, 1),
    "epochs": (1, 1e5),
    "alignment": (0, 1e3),
    "window": (1, 1e3),
    "seed": (0, 2**32 - 1),
}
# Seconds: before the first picture, a thousand points of the first picture, of every other.
COSTS: Mapping[str, tuple[float, float, float]] = {
    "pca": (0.0, 0.005, 0.005),
    "class_axes": (0.0, 0.005, 0.005),
    "tsne": (1.5, 4.5, 1.2),
    "umap": (6.5, 0.5, 0.35),
    "aligned_umap": (16.0, 2.8, 2.8),
}


def checked_options(how: str, options: Mapping[str, float]) -> dict[str, float]:
    """All options of a way to draw. Raises InputError for what is unknown, out of range or not installed."""
    if how not in OPTIONS:
        raise unknown("way to draw", how, OPTIONS)
    for name, value in options.items():
        if name not in OPTIONS[how]:
            raise unknown("option", name, OPTIONS[how], where=f" of {how}")
        least, most = LIMITS[name]
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        whole = isinstance(OPTIONS[how][name], int)
        if not number or not least <= value <= most or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            raise InputError(f"{name}={brief(value)}: expected {kind} from {least:g} to {most:g}.")
    if how.endswith("umap") and find_spec("umap") is None:
        raise InputError("UMAP needs umap-learn, which is not installed: pip install umap-learn, or draw with tsne.")
    return {name: type(default)(options.get(name, default)) for name, default in OPTIONS[how].items()}


@checked
def announced_seconds(how: str, samples: int, frames: int = 1) -> float:
    """Roughly how many seconds a picture or film takes, to be told before it is begun.

    Measured at 1 000 to 5 400 points of width 64 on one core of a virtual server of 2025 (AMD EPYC), with the
    start of a process and the compiling of umap-learn, which only the first worker on a machine does; older laptops
    take up to three times as long. ``samples`` are the points in a picture (images times nets), ``frames`` the
    pictures.
    """
    if how not in COSTS:
        raise unknown("way to draw", how, COSTS)
    for name, value in (("samples", samples), ("frames", frames)):
        check_between(name, value, 0, 1e12)
    fixed, first, more = COSTS[how]
    return fixed + samples / 1000 * (first + max(frames - 1, 0) * more)
