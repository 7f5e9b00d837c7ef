"""Checks of what the nets meet in: the common space, its channels, the MMD that aligns it, the way back out of it."""

from collections.abc import Iterator, Mapping

import numpy as np

from ka_explore.diagnosis.evidence import CannotCheck, Evidence, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import covariance_rank, finite_rows, mean, median, silent, size
from ka_explore.probes.results import Curves, Distribution, Scalars
from ka_explore.run.snapshot import SOFT_TERMS


def group(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays under a prefix by what follows it; empty for none."""
    return {name.split("/", 1)[1]: a for name, a in arrays.items() if name.startswith(prefix + "/")}


def common_of(evidence: Evidence) -> dict[str, np.ndarray]:
    """The common space in the last snapshot. Raises CannotCheck for a method that has none."""
    found = group(evidence.last.arrays, "common")
    if not found:
        raise CannotCheck("the method's last stage has no common space.")
    return found


def own_rank(evidence: Evidence, teacher: str) -> float:
    """Effective rank of a teacher's feature: the last of its layers in the snapshot."""
    features = group(evidence.last.arrays, f"feature/{teacher}")
    layer = feature_layer(evidence, teacher)
    rows = features.get(layer) if layer in features else next(reversed(list(features.values())), None)
    return float("nan") if rows is None else covariance_rank(rows)


def feature_layer(evidence: Evidence, teacher: str) -> str:
    """The layer that is a teacher's feature, as far as it is known."""
    if evidence.examination and teacher in evidence.examination.get("teachers", {}):
        return str(evidence.examination["teachers"][teacher]["feature_layer"])
    return ""


def collapsed(evidence: Evidence) -> Iterator[Finding]:
    """Whether the nets met in a point or on a line: rows of the common space that are all alike, or of low rank."""
    common = common_of(evidence)
    ranks = {net: covariance_rank(rows) for net, rows in common.items()}
    width = max(rows.shape[1] for rows in common.values())
    if width == 1:
        raise CannotCheck("the common space has one channel: see not_reconstructable.")
    needed = median([own_rank(evidence, teacher) for teacher in evidence.teachers])
    room = min(width, needed) if needed == needed else width
    spread = {net: variation(rows) for net, rows in common.items()}
    steps = [s.step for s in evidence.snapshots if group(s.arrays, "common")]
    over = {
        net: np.array([covariance_rank(s.arrays[f"common/{net}"]) for s in evidence.snapshots if s.step in steps])
        for net in common
        if all(f"common/{net}" in s.arrays for s in evidence.snapshots if s.step in steps)
    }
    figure = Curves(
        {net: np.array(steps) for net in over},
        over,
        unit="effective rank of the covariance",
        title="directions that the common space uses",
        levels={"width": float(width), "the teachers' own": needed},
    )
    why = (
        "What differs between images is gone before the decoders and the MMD see it: the distance is small because "
        "everything is alike, and nothing of the teachers comes through."
    )
    options = evidence.options
    attempts = [
        Attempt(
            "Let the reconstruction hold the space open against the pull of the alignment.",
            {"mmd_weight": 0.1, "reconstruction_weight": 1.0, "paired_weight": 0.0},
            at=0,
        )
    ]
    if float(options.get("weight_decay", 0)) > 1e-2:
        attempts.insert(0, Attempt("Decay the weights less.", {"weight_decay": 1e-4}, at=0))
    attempts = [a for a in attempts if all(k in options for k in a.changes)]
    numbers: dict[str, float | str] = {f"effective rank of {net}'s covariance": rank for net, rank in ranks.items()}
    numbers |= {"width": float(width), "effective rank of the covariance of the teachers' features (median)": needed}
    teachers = [net for net in ranks if net != "student"]
    yield judged(
        "collapsed_rank",
        median([ranks[t] for t in teachers]) / max(room, 1.0),
        f"The common space has collapsed to about {median([ranks[t] for t in teachers]):.1f} directions of {width}.",
        name="collapsed",
        depth=3.5,
        evidence=numbers,
        why=why,
        attempts=attempts,
        result=figure,
        measure="effective rank of the covariance relative to what there is room and need for",
    )
    yield judged(
        "collapsed_rows",
        mean(list(spread.values())),
        "The common space has collapsed: the rows of all images point the same way.",
        name="collapsed",
        depth=3.5,
        evidence=numbers,
        why=why,
        attempts=attempts,
        result=figure,
        measure="variation of the rows' directions (0: all alike)",
    )


def variation(rows: np.ndarray) -> float:
    """1 − ‖mean of the L2-normalised rows‖²: 0 where all point one way."""
    (rows,) = finite_rows(rows)
    if len(rows) < 2:
        return float("nan")
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return float(1 - (unit.mean(axis=0) ** 2).sum())


def dead_channels(evidence: Evidence) -> Iterator[Finding]:
    """Whether channels of student, teachers or common space are silent: the same for every image."""
    arrays, found = evidence.last.arrays, {}
    for name, rows in arrays.items():
        kind, _, net = name.partition("/")
        if kind in ("feature", "common") and rows.ndim == 2:
            found[net if kind == "feature" else f"common space, {net}"] = silent(rows)
    if len(evidence.last.index) < 2 or not found:
        raise CannotCheck("one sample, or no feature in the last snapshot.")
    for place, share in found.items():
        net = place.split("/")[0]
        teacher = net in evidence.last.knows
        yield judged(
            "dead_channels",
            share,
            f"{share:.0%} of the channels of {place} are dead: the same for every image.",
            # A teacher's or the student's own; in the common space it follows from what made it so.
            depth=(7.2 if share < 0.95 else 6.0) if teacher else 3.6,  # a layer dead as a whole is the wrong layer
            subject=net if teacher else place,
            evidence={"channels": float(arrays[f"feature/{place}"].shape[1])} if f"feature/{place}" in arrays else {},
            measure="share of silent channels",
            why="A dead channel passes no gradient and comes back by luck only; the net is narrower than it looks.",
            attempts=(
                (Attempt("Name a layer of the teacher that is alive, or check its weights.", code="Teacher(…)"),)
                if teacher
                else tuple(
                    Attempt(text, changes, at=0)
                    for text, changes in (
                        ("Take a smaller learning rate.", {"learning_rate": smaller(evidence)}),
                        ("Put batch norm into the common space.", {"norm": "batch"}),
                    )
                    if all(k in evidence.options for k in changes)
                )
            ),
            result=Scalars(found, unit="share", title="silent channels"),
        )


def smaller(evidence: Evidence) -> float:
    """A tenth of the learning rate."""
    return float(f"{float(evidence.options.get('learning_rate', 1e-3)) / 10:.3g}")


def mmd_saturated(evidence: Evidence) -> Iterator[Finding]:
    """Whether the MMD sees anything at its bandwidths: at its floor 2/N they are too small, near 0 too large."""
    if not float(evidence.weights().get("mmd", 1.0)) > 0:
        raise CannotCheck("the MMD has no weight.")
    seen = [s for s in evidence.snapshots if any(name.startswith("mmd/") for name in s.arrays)]
    if not seen:
        raise CannotCheck("the snapshots hold no MMD by bandwidth.")
    count = len(seen[-1].index)
    if count < 8:
        raise CannotCheck("fewer than 8 samples.")
    small, large = [], []
    for snapshot in seen:
        values = {k: float(np.nanmean(a)) for k, a in group(snapshot.arrays, "mmd").items() if np.isfinite(a).any()}
        if values:
            floor = 2 / np.isfinite(next(iter(group(snapshot.arrays, "mmd").values()))).sum()
            # how far the bandwidth that sees most is from either end
            small.append(max(abs(v / floor - 1) for v in values.values()))
            large.append(max(v / floor for v in values.values()))
    last = {k: float(np.nanmean(a)) for k, a in group(seen[-1].arrays, "mmd").items() if np.isfinite(a).any()}
    sigmas = sorted({float(name.rsplit("/", 1)[1]) for name in last})
    teachers = dict.fromkeys(name.rsplit("/", 1)[0] for name in last)
    figure = Curves(
        {t: np.array(sigmas) for t in teachers},
        {t: np.array([last.get(f"{t}/{s:g}", np.nan) for s in sigmas]) for t in teachers},
        across="bandwidth σ",
        unit="squared MMD",
        title="MMD by bandwidth",
        levels={"floor 2/N": 2 / count},
        log=(True, True),
    )
    numbers: dict[str, float | str] = {
        "bandwidths": ", ".join(f"{s:g}" for s in sigmas),
        "floor 2/N": 2 / count,
        "samples": float(count),
    }
    attempts = (
        Attempt(
            "Take bandwidths around the distances of the rows (unit rows lie 0 to 2 apart).",
            {"bandwidths": (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)},
            at=0,
        ),
    )
    ratio = pull(evidence, "mmd")
    why = (
        "A kernel that is 1 only for a row and itself, or 1 for all pairs, has no gradient: the MMD is a constant and "
        "aligns nothing, whatever its weight."
    )
    yield judged(
        "mmd_small",
        max(small, default=float("nan")),
        "The MMD sits at its floor 2/N: its bandwidths are far too small.",
        name="mmd_saturated",
        depth=5,
        subject="mmd",
        evidence=numbers | {"gradient relative to the soft target's": ratio},
        why=why,
        attempts=attempts,
        result=figure,
        measure="largest distance from the floor at any bandwidth and step",
    )
    yield judged(
        "mmd_large",
        max(large, default=float("nan")),
        "The MMD is next to nothing: its bandwidths are far too large.",
        name="mmd_saturated",
        depth=5,
        subject="mmd",
        evidence=numbers | {"gradient relative to the soft target's": ratio},
        why=why,
        attempts=attempts,
        result=figure,
        measure="largest value at any bandwidth and step, relative to 2/N",
    )


def pull(evidence: Evidence, term: str) -> float:
    """Gradient of a term at the student's feature relative to the soft target's, median over snapshots; NaN unknown."""
    ratios = []
    for snapshot in evidence.snapshots:
        sizes = {k: size(a) for k, a in group(snapshot.arrays, "gradient").items() if "/" not in k}
        answer = next((sizes[k] for k in SOFT_TERMS if k in sizes), float("nan"))
        if term in sizes and answer > 0:
            ratios.append(sizes[term] / answer)
    return median(ratios)


def not_reconstructable(evidence: Evidence) -> Iterator[Finding]:
    """Whether each teacher's feature comes back from the common space, and whether that is wide enough at all."""
    errors = group(evidence.last.arrays, "error")
    if not errors:
        raise CannotCheck("the method's last stage reconstructs nothing.")
    if evidence.weights().get("reconstruction", 1.0) == 0:
        raise CannotCheck("the reconstruction has no weight: its decoders were not trained.")
    common = group(evidence.last.arrays, "common")
    width = next(iter(common.values())).shape[1] if common else 0
    figure = Distribution(errors, unit="share of the feature's variance", title="reconstruction error")
    term = evidence.term("reconstruction")
    settled = len(term) >= 100 and not float(term[-1]) < 0.8 * float(term[len(term) * 2 // 3])
    for teacher, error in errors.items():
        rank, left = own_rank(evidence, teacher), mean([float(v) for v in np.ravel(error)])
        narrow = bool(width) and width < 0.6 * rank
        yield judged(
            "not_reconstructable",
            left,
            f"The feature of teacher {teacher!r} does not come back through the common space"
            + (f": {width} channels are too narrow for it." if narrow else "."),
            depth=4.8 if narrow else 2,
            subject=teacher,
            evidence={"width of the common space": float(width), "effective rank of its feature's covariance": rank},
            measure="reconstruction error (1: no better than the mean)",
            why="What the decoder cannot rebuild is not in the common space, so the student cannot learn it there.",
            attempts=tuple(
                Attempt(text, changes, at=0)
                for text, changes in (
                    ("Widen the common space.", {"width": int(max(16, 2 * np.ceil(np.nan_to_num(rank))))}),
                    ("Weigh the reconstruction more.", {"reconstruction_weight": 1.0}),
                )
                if all(k in evidence.options for k in changes)
            ),
            result=figure,
            at_most="warning" if settled or (narrow and len(term) >= 60) else "note",
        )
