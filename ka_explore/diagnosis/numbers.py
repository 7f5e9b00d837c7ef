"""Small calculations the checks share beyond the probes'; none of them minds NaN, one sample or constant columns."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ka_explore.probes.logits import entropy, log_softmax
from ka_explore.probes.samples import finite


def finite_rows(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The arrays as float64, without the samples for which one of them is not finite."""
    kept = finite(*arrays)
    return tuple(array[kept].astype(np.float64) for array in arrays)


def information(logits: np.ndarray) -> float:
    """H(mean p) − mean H(p), in nats: what the answers tell of the image; 0 for one and the same answer."""
    (logits,) = finite_rows(logits)
    if len(logits) < 2:
        return float("nan")
    mean = np.exp(log_softmax(logits)).mean(axis=0)
    return max(float(-(mean * np.log(np.maximum(mean, 1e-300))).sum() - entropy(logits).mean()), 0.0)


def left_over(teacher: np.ndarray, student: np.ndarray) -> float:
    """Mean KL(teacher ‖ student) relative to what the answers tell: 0 all learned, 1 as good as their mean."""
    teacher, student = finite_rows(teacher, student)
    tells = information(teacher)
    if not tells > 1e-3:
        return float("nan")
    log = log_softmax(teacher)
    return float((np.exp(log) * (log - log_softmax(student))).sum(axis=1).mean() / tells)


def distinct(images: np.ndarray) -> int:
    """How many images differ: one counts if none before it is nearer than a twentieth of the images' own contrast."""
    rows = images.reshape(len(images), -1).astype(np.float64)
    contrast = float(np.median(np.linalg.norm(rows - rows.mean(axis=1, keepdims=True), axis=1)))
    squares = (rows**2).sum(axis=1)
    far = squares[:, None] + squares - 2 * rows @ rows.T
    rounding = 1e-9 * max(float(squares.max(initial=0.0)), 1e-300)
    before = np.tri(len(rows), k=-1, dtype=bool)
    return int((~((far <= (0.05 * contrast) ** 2 + rounding) & before).any(axis=1)).sum())


def median(values: Sequence[float]) -> float:
    """Of those that are finite; NaN of none."""
    kept = [v for v in values if math.isfinite(v)]
    return float(np.median(kept)) if kept else float("nan")


def running_mean(values: Sequence[float] | np.ndarray, window: int) -> np.ndarray:
    """Means over a window, as many as fit; the values themselves where fewer than two do."""
    array = np.asarray(values, np.float64)
    window = max(min(window, len(array)), 1)
    return np.convolve(array, np.ones(window) / window, mode="valid") if len(array) else array


def number(value: Any) -> float:
    """A number from JSON, NaN for None."""
    return float("nan") if value is None else float(value)
