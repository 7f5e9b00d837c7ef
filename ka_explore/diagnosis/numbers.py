"""Small calculations the checks share: numpy only, and none of them minds NaN, one sample or constant columns."""

import math
from collections.abc import Sequence

import numpy as np

from ka_explore.probes.logits import entropy, log_softmax


def finite_rows(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The arrays as float64, without the samples for which one of them is not finite."""
    parts = [np.asarray(a, np.float64) for a in arrays]
    good = np.logical_and.reduce([np.isfinite(a.reshape(len(a), -1)).all(axis=1) for a in parts])
    return tuple(a[good] for a in parts)


def covariance_rank(rows: np.ndarray) -> float:
    """Effective rank of the covariance: exp of the entropy of its normalised eigenvalues; 0 for constant rows.

    Roy and Vetterli 2007, of the covariance; the probe takes the rows' own singular values and is larger.
    """
    (rows,) = finite_rows(rows)
    if len(rows) < 2:
        return float("nan")
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
    if not values.size or values.sum() <= 1e-12 * max(float((rows**2).sum()), 1e-300):
        return 0.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def silent(rows: np.ndarray) -> float:
    """Share of the columns that do not vary over the samples."""
    (rows,) = finite_rows(rows)
    if len(rows) < 2 or not rows.size:
        return float("nan")
    return float((rows.std(axis=0) <= 1e-6 * max(float(np.abs(rows).max()), 1e-30)).mean())


def information(logits: np.ndarray) -> float:
    """H(mean p) − mean H(p), in nats: what the answers tell of the image; 0 for one and the same answer."""
    (logits,) = finite_rows(logits)
    if len(logits) < 2:
        return float("nan")
    log = log_softmax(logits)
    mean = np.exp(log).mean(axis=0)
    return max(float(-(mean * np.log(np.maximum(mean, 1e-300))).sum() - entropy(logits).mean()), 0.0)


def left_over(teacher: np.ndarray, student: np.ndarray) -> float:
    """Mean KL(teacher ‖ student) relative to what the answers tell: 0 all learned, 1 as good as their mean."""
    teacher, student = finite_rows(teacher, student)
    tells = information(teacher) if len(teacher) else float("nan")
    if not tells > 1e-3:
        return float("nan")
    log = log_softmax(teacher)
    return float((np.exp(log) * (log - log_softmax(student))).sum(axis=1).mean() / tells)


def cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear CKA of two nets' rows of the same samples, biased (Kornblith 2019); NaN for constant rows."""
    first, second = finite_rows(first, second)
    if len(first) < 3:
        return float("nan")
    one, two = first - first.mean(axis=0), second - second.mean(axis=0)
    cross = float((one.T @ two).ravel() @ (one.T @ two).ravel())
    sizes = math.sqrt(float(((one.T @ one) ** 2).sum()) * float(((two.T @ two) ** 2).sum()))
    return cross / sizes if sizes > 0 else float("nan")


def size(values: np.ndarray) -> float:
    """√Σ v² over the samples that are finite; NaN of none."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    return float(np.linalg.norm(values)) if len(values) else float("nan")


def median(values: Sequence[float]) -> float:
    """Of those that are finite; NaN of none."""
    kept = [v for v in values if math.isfinite(v)]
    return float(np.median(kept)) if kept else float("nan")


def mean(values: Sequence[float]) -> float:
    """Of those that are finite; NaN of none."""
    kept = [v for v in values if math.isfinite(v)]
    return float(np.mean(kept)) if kept else float("nan")


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Running means over a window, as many as fit; the values themselves where fewer than two do."""
    array = np.asarray(values, np.float64)
    window = max(min(window, len(array)), 1)
    return np.convolve(array, np.ones(window) / window, mode="valid") if len(array) else array
