"""How many directions a net uses in the common space, and whether nets use the same ones."""

from itertools import combinations

import numpy as np

from ka_explore.errors import InputError, Number
from ka_explore.probes.probe import probe
from ka_explore.probes.results import Curves, Matrix, Scalars
from ka_explore.probes.samples import centred, finite, finite_in_all, left_out
from ka_explore.run.snapshot import Snapshot

# Rounding of float32 is a ten-millionth of the largest value, and sums pass it on to every channel.
ROUNDING = 1e-6


@probe("common/*")
def effective_rank(snapshot: Snapshot, space: str = "common") -> Scalars:
    """How many directions each net uses: exp(entropy of the normalised singular values of its centred rows).

    Roy and Vetterli 2007, "The effective rank". From 1 (a line) to the smaller of width and samples − 1 (all alike);
    0 where all rows are equal, NaN for fewer than two samples. ``space`` says which arrays; they may be
    of different widths.
    """
    group = snapshot.group(space)
    values = {net: rank(strengths(a)) if finite(a).sum() > 1 else float("nan") for net, a in group.items()}
    note = left_out(finite(*group.values()))
    return Scalars(values, unit="directions", title=f"effective rank of {space}", note=note)


@probe("common/*")
def dead_channels(snapshot: Snapshot, space: str = "common") -> Scalars:
    """Share of each net's channels that say nothing: the same for all samples, up to rounding.

    A channel is dead whose standard deviation over the samples is at most a millionth of the net's largest absolute
    value: ten roundings of float32, so what is below is no signal (one that is always zero is dead in any case).
    NaN for fewer than two samples. Arguments and errors as `effective_rank`.
    """
    group = snapshot.group(space)
    rows = {net: array[finite(array)].astype(np.float64) for net, array in group.items()}
    values = {net: dead_share(array) if len(array) > 1 else float("nan") for net, array in rows.items()}
    note = left_out(finite(*group.values()))
    return Scalars(values, unit="share of the channels", title=f"dead channels in {space}", note=note)


@probe("common/*")
def spectrum(snapshot: Snapshot, space: str = "common") -> Curves:
    """Share of each net's variance on each of its own principal axes, largest first; they sum to 1.

    NaN for a net without variance. Arguments and errors as `effective_rank`.
    """
    group = snapshot.group(space)
    shares = {net: variance_shares(strengths(array)) for net, array in group.items()}
    x, note = {net: np.arange(1, len(share) + 1) for net, share in shares.items()}, left_out(finite(*group.values()))
    words = "principal axis", "share of the variance", f"spectrum of {space}"
    return Curves(x, shares, *words, log=(False, True), note=note)


@probe("common/*")
def principal_angles(snapshot: Snapshot, space: str = "common", share: Number = 0.9) -> Matrix:
    """Angles between the nets' principal subspaces, in degrees: 0 for a shared direction, 90 for none.

    Rows are pairs of nets; columns the smallest, mean and largest of the principal angles (Björck and Golub 1973), of
    which there are as many as the smaller subspace has axes.

    Args:
        space: which arrays; all must be of one width.
        share: how much of its variance a net's subspace keeps; it has no more axes than that takes.

    NaN for a net without variance. Raises InputError when the stage emits none, they are of different widths, or
    ``share`` is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise InputError(f"share={share}: expected above 0 and at most 1.")
    rows, kept = finite_in_all(snapshot.group(space))
    widths = {array.shape[1] for array in rows.values()}
    if len(widths) > 1:
        raise InputError(f"{space}/… have different widths {sorted(widths)}: only nets in one space can be compared.")
    axes = {net: principal_axes(array, share) for net, array in rows.items()}
    pairs = list(combinations(rows, 2))
    angles = (angles_between(axes[one], axes[other]) for one, other in pairs)
    values = np.array([[a.min(), a.mean(), a.max()] for a in angles]).reshape(len(pairs), 3)
    names = tuple(f"{one} – {other}" for one, other in pairs), ("smallest", "mean", "largest")
    counts = ", ".join(f"{net} {len(found)}" for net, found in axes.items())
    note = left_out(kept, behind=f"axes of {max(widths)} that keep {float(share):.0%} of the variance: {counts}")
    return Matrix(values, *names, unit="degrees", title=f"angles between subspaces of {space}", note=note)


def strengths(array: np.ndarray) -> np.ndarray:
    """Singular values of the centred finite rows, largest first; none without a row."""
    rows = centred(array[finite(array)])
    return np.linalg.svd(rows, compute_uv=False) if rows.size else np.zeros(0)


def rank(strength: np.ndarray) -> float:
    """exp(−Σ p log p), p = σ / Σ σ; 0 where all σ are zero."""
    if not strength.sum() > 0:
        return 0.0
    p = strength[strength > 0] / strength.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def variance_shares(strength: np.ndarray) -> np.ndarray:
    """σ² / Σ σ²; NaN where all are zero."""
    total = (strength**2).sum()
    return strength**2 / total if total > 0 else np.full(len(strength), np.nan)


def dead_share(rows: np.ndarray) -> float:
    """Share of the channels that are constant up to rounding."""
    largest = max(float(np.abs(rows).max(initial=0.0)), np.finfo(np.float64).tiny)
    return float(((rows / largest).std(axis=0) <= ROUNDING).mean())


def principal_axes(rows: np.ndarray, share: float) -> np.ndarray:
    """(axis, feature): the fewest principal axes that keep a share of the variance; none where there is no variance."""
    rows = centred(rows)
    if not rows.any():
        return np.zeros((0, rows.shape[1]))
    _, strength, axes = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(axes[: int(np.searchsorted(np.cumsum(variance_shares(strength)), share - 1e-9)) + 1])


def angles_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The principal angles of two subspaces given by orthonormal rows, in degrees; NaN where one has no axis."""
    if not (len(one) and len(other)):
        return np.array([np.nan])
    small, large = sorted((one, other), key=len)
    cosines = np.linalg.svd(small @ large.T, compute_uv=False)
    sines = np.linalg.svd(small - small @ large.T @ large, compute_uv=False)[::-1]
    return np.degrees(np.arctan2(sines, cosines))  # of both, since a cosine alone is blind to small angles
