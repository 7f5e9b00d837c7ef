"""Which samples can be counted: those whose rows are finite; what was left out is said, never hidden."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def evenly(things: Sequence[T], most: int) -> list[T]:
    """At most so many of them, the first and the last among them."""
    if len(things) <= most:
        return list(things)
    return [things[index] for index in np.linspace(0, len(things) - 1, most).round().astype(int)]


def finite(*arrays: np.ndarray) -> np.ndarray:
    """(sample,): whether a sample's row is finite in all of the arrays."""
    return np.logical_and.reduce([np.isfinite(array).all(axis=tuple(range(1, array.ndim))) for array in arrays])


def finite_in_all(group: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The rows, in float64, of the samples that are finite in every array, and which samples these are.

    An array without any finite row does not take all samples from the others: it alone comes back without rows.
    """
    masks = {name: finite(array) for name, array in group.items()}
    some = [mask for mask in masks.values() if mask.any()]
    kept = np.logical_and.reduce(some) if some else next(iter(masks.values()))
    return {name: array[kept & masks[name].any()].astype(np.float64) for name, array in group.items()}, kept


def average(values: np.ndarray) -> float:
    """Mean of those that are finite; NaN of none."""
    values = values[np.isfinite(values)]
    return float(values.mean(dtype=np.float64)) if len(values) else float("nan")


def averages(table: np.ndarray) -> np.ndarray:
    """(column,): `average` of each column of a table (row, column)."""
    return np.array([average(column) for column in table.T])


def left_out(*masks: np.ndarray, behind: str = "") -> str:
    """How many samples some mask leaves out, in words: alone, or in brackets behind others; empty for none."""
    kept = np.logical_and.reduce(masks)
    missing = int((~kept).sum())
    words = f"{missing} of {len(kept)} samples left out: not finite" if missing else ""
    return f"{behind} ({words})" if behind and words else behind or words


def centred(rows: np.ndarray) -> np.ndarray:
    """(sample, feature) minus its mean, divided by its largest absolute value; of float64.

    The first row goes before the mean, so that a constant feature becomes exactly zero and no rounding error is
    taken for variance.
    """
    rows = rows.astype(np.float64)
    if not rows.size:
        return rows
    rows = rows / max(float(np.abs(rows).max()), np.finfo(np.float64).tiny)
    rows = rows - rows[0]
    return np.asarray(rows - rows.mean(axis=0))


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(row, other row): squared Euclidean distances."""
    squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return np.asarray(squared.clip(min=0))
