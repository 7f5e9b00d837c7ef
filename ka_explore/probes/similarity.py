"""How alike two nets see the images: maximum mean discrepancy in the common space, and CKA between any layers."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ka_explore.errors import InputError, check_between, short
from ka_explore.probes.probe import probe
from ka_explore.probes.results import Curves, Matrix, Scalars
from ka_explore.probes.samples import average, centred, finite, finite_in_all, left_out, squared_distances
from ka_explore.probes.spaces import members, width_of
from ka_explore.run.snapshot import Snapshot

# Bandwidths of the published code of Luo et al. 2019, as in `ka_explore.methods.losses`.
BANDWIDTHS = (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)
FLOOR = "floor 2/N"
MOST = 4096  # samples of which all pairs are compared


@probe("mmd/*", "common/*")
def mmd(snapshot: Snapshot) -> Matrix:
    """Squared MMD of the student to each teacher (columns), a bandwidth (rows), and the sum that is the loss.

    As the stage itself saw it (``mmd/…``, on whole maps where the method takes these); else from the rows of
    ``common/…``, see `mmd_of`. Raises InputError when the stage emits neither.
    """
    return table(recorded(snapshot) or computed(snapshot, "common", BANDWIDTHS))


@probe("common/*")
def mmd_of(snapshot: Snapshot, space: str = "common", bandwidths: Sequence[float] = BANDWIDTHS) -> Matrix:
    """Squared MMD of the student's rows to each teacher's: as `mmd`, for any arrays and bandwidths.

    Args:
        space: which arrays; the student's and the teachers' must be of one width. They are means over space, so where a
            method aligns whole maps these are not the numbers of its loss.
        bandwidths: σ in K(a, b) = exp(−‖a − b‖² / 2σ²), on L2-normalised rows, whose distances are 0 to 2.

    Raises InputError when they are of different widths, or a bandwidth is not above zero.
    """
    return table(computed(snapshot, space, bandwidths))


@probe("mmd/*", "common/*")
def mmd_curve(snapshot: Snapshot) -> Curves:
    """Squared MMD over the bandwidth, a line a teacher, with the floor 2/N: where lines touch it nothing is learnt."""
    return recorded(snapshot) or computed(snapshot, "common", BANDWIDTHS)


def floor(snapshot: Snapshot) -> float:
    """2/N: the squared MMD of a bandwidth so small that every row is alone, whatever the nets do."""
    return mmd_curve(snapshot).levels[FLOOR]


@probe("common/*")
def median_distance(snapshot: Snapshot, space: str = "common", most: int = 1000) -> Scalars:
    """The bandwidth that fits: median distance between the rows of student and teacher together, by teacher.

    The median heuristic (Gretton et al. 2012, "A kernel two-sample test"), on L2-normalised rows. A kernel pulls where
    its bandwidth is near this; far below it is at its floor, far above it is flat.

    Args:
        space: which arrays.
        most: samples at most, evenly over the snapshot, since all pairs are compared; up to 4 096.

    Raises InputError when they are of different widths, or ``most`` is out of range.
    """
    check_between("most", most, 1, MOST)
    rows, kept = unit_rows(snapshot, space)
    some = {net: a if len(a) <= most else a[np.linspace(0, len(a) - 1, most).astype(int)] for net, a in rows.items()}
    student, values = some.pop("student"), {}
    for teacher, theirs in some.items():
        both = np.concatenate([student, theirs])
        squared = squared_distances(both, both)[np.triu_indices(len(both), 1)]
        values[teacher] = float(np.sqrt(np.median(squared))) if len(squared) else np.nan
    title = f"median distance in {space}, student and teacher"
    return Scalars(values, unit="distance", title=title, note=left_out(kept))


def table(found: Curves) -> Matrix:
    """A row a bandwidth, and their sum."""
    values = np.stack(list(found.y.values()), axis=1)
    values = np.concatenate([values, values.sum(axis=0, keepdims=True)])
    rows = (*(f"σ {bandwidth:g}" for bandwidth in next(iter(found.x.values()))), "sum")
    return Matrix(values, rows, tuple(found.y), unit=found.unit, title=found.title, note=found.note)


def recorded(snapshot: Snapshot) -> Curves | None:
    """What the stage itself saw, if it says: ``mmd/<teacher>/<σ>``."""
    if not any(name.startswith("mmd/") for name in snapshot.arrays):
        return None
    arrays = snapshot.group("mmd")
    sigmas = sorted({name.split("/")[1] for name in arrays}, key=float)
    kept, count = finite(*arrays.values()), len(snapshot.index)
    missing = np.full(count, np.nan)
    values = {
        teacher: np.array([average(arrays.get(f"{teacher}/{sigma}", missing)[kept]) for sigma in sigmas])
        for teacher in dict.fromkeys(name.split("/")[0] for name in arrays)
    }
    return discrepancy(values, list(map(float, sigmas)), count, "as the stage saw it", kept)


def computed(snapshot: Snapshot, space: str, bandwidths: Sequence[float]) -> Curves:
    """The same from rows: biased, diagonals included, as `ka_explore.methods.losses.mmd` (Luo et al. 2019, L_M)."""
    if not bandwidths or not all(1e-100 < bandwidth < 1e100 for bandwidth in bandwidths):
        raise InputError(f"bandwidths={tuple(bandwidths)}: expected at least one, each above zero.")
    rows, kept = unit_rows(snapshot, space)
    student = rows.pop("student")
    own = kernel_means(student, student, bandwidths)
    values = {
        net: own + kernel_means(teacher, teacher, bandwidths) - 2 * kernel_means(student, teacher, bandwidths)
        for net, teacher in rows.items()
    }
    return discrepancy(values, bandwidths, int(kept.sum()), f"from the means over space in {space}/…", kept)


def discrepancy(
    values: Mapping[str, np.ndarray], bandwidths: Sequence[float], count: int, how: str, kept: np.ndarray
) -> Curves:
    """Squared MMD of the student to each teacher over the bandwidth, with what a reader must know of it."""
    floor = 2 / count if count else np.nan
    level = f"{floor:.3g}" if count else "unknown"
    words = f"{how}, N = {count} images of the probe set; a bandwidth far below every distance gives 2/N = {level}"
    words += " whatever the nets do, and no gradient"
    x, note = dict.fromkeys(values, np.array(bandwidths)), left_out(kept, behind=words)
    across, title = "bandwidth σ (distance of rows of length 1)", "MMD of the student to each teacher"
    return Curves(x, values, across, "squared MMD", title, {FLOOR: floor}, log=(True, False), note=note)


def unit_rows(snapshot: Snapshot, space: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each net's rows as pictures draw them, of length 1, student first; without the samples not finite in all.

    Also which samples are left. Raises InputError where there are none, they are of different widths, or no student's.
    """
    if space not in snapshot.arrays:
        snapshot.group(space)  # says what the stage emits where it has none
    width_of(snapshot, space)
    group = members(snapshot, space)
    if "student" not in group:
        raise InputError(f"{space} has no student: it has {', '.join(group)}. Teachers are compared with the student.")
    rows, kept = finite_in_all({"student": group["student"]} | group)
    return {net: a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12) for net, a in rows.items()}, kept


def kernel_means(one: np.ndarray, other: np.ndarray, bandwidths: Sequence[float], block: int = 512) -> np.ndarray:
    """(bandwidth,): mean of exp(−‖a − b‖² / 2σ²) over all pairs, a block of rows at a time; NaN of none."""
    if not (len(one) and len(other)):
        return np.full(len(bandwidths), np.nan)
    total = np.zeros(len(bandwidths))
    for start in range(0, len(one), block):
        squared = squared_distances(one[start : start + block], other)
        total += [np.exp(-squared / (2 * bandwidth**2)).sum() for bandwidth in bandwidths]
    return total / (len(one) * len(other))


@probe()
def cka(
    snapshot: Snapshot, space: str | Sequence[str] = ("feature", "common", "code", "regressed"), batch: int = 256
) -> Matrix:
    """Linear CKA between all nets' layers: 1 for features equal up to rotation and scale, about 0 for unrelated ones.

    CKA(X, Y) = mean HSIC₁(X, Y) / √(mean HSIC₁(X, X) · mean HSIC₁(Y, Y)), means over batches, with the unbiased HSIC₁
    of Song et al. 2012 ("Feature selection via dependence maximization", eq. 5), as Nguyen, Raghu and Kornblith 2021
    ("Do wide and deep networks learn the same things?", eq. 3). Unlike the biased CKA it does not grow with the width
    where images are few; so it can be a little below zero.

    Args:
        space: which arrays, by the first words of their names; those that are not there are passed over.
        batch: images at most in each batch.

    NaN for fewer than four samples, and for a layer without variance. Raises InputError when none of them is there.
    """
    check_between("batch", batch, 1, math.inf)
    rows, kept = finite_in_all(layers_of(snapshot, (space,) if isinstance(space, str) else space))
    scaled = [centred(array) for array in rows.values()]
    count = int(kept.sum())
    batches = np.array_split(np.arange(count), max(-(-count // batch), 1))
    similar = sum(hsic_of(scaled, part) for part in batches)
    own = np.sqrt(np.diagonal(similar))
    size = np.where(own > 0, own, np.nan)
    told = "1 batch" if len(batches) == 1 else f"{len(batches)} batches"
    note = left_out(kept, behind=f"unbiased, N = {count} in {told}")
    values, names = similar / size[:, None] / size, tuple(rows)
    return Matrix(values, names, names, unit="CKA", title="linear CKA between layers", note=note)


def layers_of(snapshot: Snapshot, space: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays by ``net layer``: the student's, each teacher's, then what belongs to no net."""
    found: dict[str, np.ndarray] = {}
    for net in ("student", *snapshot.teachers):
        for name, array in snapshot.arrays.items():
            if "feature" in space and name.startswith(f"feature/{net}/"):
                found[f"{net} {name.split('/', 2)[2]}"] = array
        if "common" in space and f"common/{net}" in snapshot.arrays:
            found[f"{net} common"] = snapshot.arrays[f"common/{net}"]
    for name, array in snapshot.arrays.items():
        kind, _, rest = name.partition("/")
        if kind in space and kind not in ("feature", "common"):
            found[f"{kind} {rest}"] = array
    if not found:
        there = ", ".join(sorted({name.split("/")[0] for name in snapshot.arrays}))
        wanted = short(", ".join(space))
        raise InputError(f"this snapshot (stage {snapshot.stage!r}) has none of {wanted}: it has {there}.")
    return found


def hsic_of(rows: Sequence[np.ndarray], part: np.ndarray) -> np.ndarray:
    """(layer, layer): HSIC₁ with linear kernels of every pair of features on some samples; NaN for fewer than four.

    HSIC₁(X, Y) = Σ_ij K̃_ij L̃_ij / n(n − 3), with K = X Xᵀ without its diagonal and, for i ≠ j,
    K̃_ij = K_ij − Σ_l K_il / (n−2) − Σ_k K_kj / (n−2) + Σ_kl K_kl / ((n−1)(n−2)):
    the form of Székely and Rizzo 2014, equal to that of Song et al. 2012.
    """
    n = len(part)
    if n < 4:
        return np.full((len(rows), len(rows)), np.nan)
    grams = np.zeros((len(rows), n, n))
    for gram, layer in zip(grams, rows, strict=True):
        if len(layer):  # a layer without any finite row stays zero, which makes its CKA NaN
            gram[:] = layer[part] @ layer[part].T
            np.fill_diagonal(gram, 0)
            sums = gram.sum(axis=0)
            gram -= (sums[:, None] + sums) / (n - 2) - sums.sum() / ((n - 1) * (n - 2))
            np.fill_diagonal(gram, 0)
    flat = grams.reshape(len(rows), n * n)
    return np.asarray(flat @ flat.T / (n * (n - 3)))
