"""How far a picture in the plane can be trusted: pictures of wide spaces lie, and these numbers say how much."""

import math

import numpy as np
from jaxtyping import Float

from ka_explore.errors import InputError
from ka_explore.probes.samples import squared_distances
from ka_explore.probes.spaces import Plane, Space

NEIGHBOURS = 15  # of a point, for both numbers: as many as UMAP draws by
COINCIDING = 0.5  # share of points that lie upon so many others that they have no nearest ones: too many to judge by
LARGEST = 1e100  # whose square is a number too
MOST = 1500  # points: both numbers compare every point with every other, which grows with the square


def trustworthiness(high: Space, low: Plane, neighbours: int = NEIGHBOURS, *, most: int = MOST, seed: int = 0) -> float:
    """How few of a point's neighbours in the plane are far from it in the space: 1 is best, 0.5 what chance gives.

    Venna and Kaski 2001, as scikit-learn computes it, on a random sample of at most ``most`` points. With few points
    fewer neighbours are asked, as many as the number is defined for; NaN below four points, and where half of them
    coincide with so many others in the space that they have no nearest ones.

    Raises InputError when the two are of different lengths.
    """
    high, low = sampled(high, low, most, seed)
    k = min(neighbours, math.ceil(len(high) / 2) - 1)
    if k < 1 or len(high) < 4 or coinciding(distances(high), k) >= COINCIDING:
        return float("nan")
    from sklearn.manifold import trustworthiness as reference

    return float(reference(high, low, n_neighbors=k))


def neighbour_agreement(
    high: Space, low: Plane, neighbours: int = NEIGHBOURS, *, most: int = MOST, seed: int = 0
) -> float:
    """Mean share of a point's nearest neighbours in the plane that are among its nearest in the space.

    1 is best; chance gives neighbours / (points − 1). Of points that are equally near, each is among the nearest to an
    equal part, in the space and in the plane, so that no order of rows is favoured; shares are then stretched so that
    best and chance are the same as ever. On a random sample of at most ``most`` points; NaN where `trustworthiness` is.

    Raises InputError when the two are of different lengths.
    """
    high, low = sampled(high, low, most, seed)
    k = min(neighbours, len(high) - 2)
    if k < 1 or len(high) < 4:
        return float("nan")
    near = distances(high)
    if coinciding(near, k) >= COINCIDING:
        return float("nan")
    real, drawn = nearest(near, k), nearest(distances(low), k)
    best = np.maximum((real**2).sum(axis=1), (drawn**2).sum(axis=1))  # k where no two are equally near
    chance = k / (len(high) - 1)
    above = (real * drawn).sum(axis=1) - k * chance
    room = best - k * chance  # none where all others are equally near, in the space and in the plane
    share = np.divide(above, room, out=np.zeros(len(high)), where=room > 1e-9)
    return float(chance + (1 - chance) * share.mean())


def judge(high: Space, low: Plane, *, most: int = MOST, seed: int = 0) -> tuple[dict[str, float], str]:
    """Both numbers by name, and what they say in words; none where there are too few points apart to judge by."""
    trust, real = (f(high, low, most=most, seed=seed) for f in (trustworthiness, neighbour_agreement))
    if math.isnan(trust) or math.isnan(real):
        return {}, "too few points to judge by" if len(high) < 4 else "too many points coincide to judge by"
    words = f"trustworthiness {trust:.2f}; {real:.0%} of neighbours are real"
    if len(high) > most:
        words += f" (judged on {most} of {len(high)} points)"
    return {"trustworthiness": trust, "neighbour agreement": real}, words


def nearest(found: Float[np.ndarray, "point point"], k: int) -> Float[np.ndarray, "point point"]:
    """To what part each point is among the k nearest of another, a row each; equals at the k-th place share it."""
    last = np.partition(found, k - 1, axis=1)[:, k - 1 : k]
    slack = 1e-9 * np.maximum(last, 1e-3 * found[np.isfinite(found)].mean())  # what rounding makes of equal distances
    nearer, equal = found < last - slack, np.abs(found - last) <= slack
    return nearer + equal * (k - nearer.sum(axis=1, keepdims=True)) / equal.sum(axis=1, keepdims=True)


def coinciding(found: Float[np.ndarray, "point point"], k: int) -> float:
    """The share of points that have at least k others in the very same place."""
    return float(((found == 0).sum(axis=1) >= k).mean())


def sampled(high: np.ndarray, low: np.ndarray, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same points of both, at most so many, as float64. Raises InputError for others, or what is not finite."""
    if len(high) != len(low):
        raise InputError(f"{len(high)} rows in the space and {len(low)} in the plane: expected the same points.")
    if len(high) > most:
        picked = np.sort(np.random.default_rng(seed).choice(len(high), most, replace=False))
        high, low = high[picked], low[picked]
    high, low = np.asarray(high, np.float64), np.asarray(low, np.float64)
    if not all((np.abs(rows) < LARGEST).all() for rows in (high, low)):
        raise InputError(f"expected finite rows below {LARGEST:g}: leave out samples that have none (NaN, infinity).")
    return high, low


def distances(rows: Space) -> Float[np.ndarray, "point point"]:
    """Squared distances of all pairs; zero where only rounding is between two, infinite from a point to itself."""
    size = float(np.abs(rows).max(initial=0.0))
    rows = rows - rows.mean(axis=0)
    found = squared_distances(rows, rows)
    found[found <= max(1e-12 * found.mean(), rows.shape[1] * (1e-10 * size) ** 2)] = 0.0
    np.fill_diagonal(found, np.inf)
    return found
