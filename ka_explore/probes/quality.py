"""How far a picture in the plane can be trusted: pictures of wide spaces lie, and these numbers say how much."""

import math

import numpy as np
from jaxtyping import Float

from ka_explore.errors import InputError
from ka_explore.probes.samples import squared_distances
from ka_explore.probes.spaces import Plane, Space

NEIGHBOURS = 15  # of a point, for both numbers: as many as UMAP draws by
MOST = 1500  # points: both numbers compare every point with every other, which grows with the square


def trustworthiness(high: Space, low: Plane, neighbours: int = NEIGHBOURS, *, most: int = MOST, seed: int = 0) -> float:
    """How few of a point's neighbours in the plane are far from it in the space: 1 is best, 0.5 what chance gives.

    Venna and Kaski 2001, as scikit-learn computes it, on a random sample of at most ``most`` points. With few points
    fewer neighbours are asked, as many as the number is defined for; NaN below four points.

    Raises InputError when the two are of different lengths.
    """
    high, low = sampled(high, low, most, seed)
    k = min(neighbours, math.ceil(len(high) / 2) - 1)
    if k < 1 or len(high) < 4:
        return float("nan")
    from sklearn.manifold import trustworthiness as reference

    return float(reference(high, low, n_neighbors=k))


def neighbour_agreement(
    high: Space, low: Plane, neighbours: int = NEIGHBOURS, *, most: int = MOST, seed: int = 0
) -> float:
    """Mean share of a point's nearest neighbours in the plane that are among its nearest in the space.

    1 is best; chance gives neighbours / (points − 1). A point as near as the last of the nearest counts as one of
    them, so equal rows do no harm. On a random sample of at most ``most`` points; NaN below four points.

    Raises InputError when the two are of different lengths.
    """
    high, low = sampled(high, low, most, seed)
    k = min(neighbours, len(high) - 2)
    if k < 1 or len(high) < 4:
        return float("nan")
    near = distances(high)
    chosen = np.argsort(distances(low), axis=1, kind="stable")[:, :k]
    last = np.partition(near, k - 1, axis=1)[:, k - 1]
    slack = 1e-9 * np.maximum(last, 1e-3 * near[np.isfinite(near)].mean())  # what rounding may make of equal distances
    return float((np.take_along_axis(near, chosen, axis=1) <= (last + slack)[:, None]).mean())


def judge(high: Space, low: Plane, *, most: int = MOST, seed: int = 0) -> tuple[dict[str, float], str]:
    """Both numbers by name, and what they say in words; none where there are too few points to judge by."""
    trust, real = (f(high, low, most=most, seed=seed) for f in (trustworthiness, neighbour_agreement))
    if math.isnan(trust) or math.isnan(real):
        return {}, "too few points to judge by"
    words = f"trustworthiness {trust:.2f}; {real:.0%} of neighbours are real"
    if len(high) > most:
        words += f" (judged on {most} of {len(high)} points)"
    return {"trustworthiness": trust, "neighbour agreement": real}, words


def sampled(high: np.ndarray, low: np.ndarray, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same points of both, at most so many, as float64."""
    if len(high) != len(low):
        raise InputError(f"{len(high)} rows in the space and {len(low)} in the plane: expected the same points.")
    if len(high) > most:
        picked = np.sort(np.random.default_rng(seed).choice(len(high), most, replace=False))
        high, low = high[picked], low[picked]
    return np.asarray(high, np.float64), np.asarray(low, np.float64)


def distances(rows: Space) -> Float[np.ndarray, "point point"]:
    """Squared distances of all pairs; infinite from a point to itself."""
    rows = rows - rows.mean(axis=0)
    found = squared_distances(rows, rows)
    np.fill_diagonal(found, np.inf)
    return found
