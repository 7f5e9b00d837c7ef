"""Checks of what the nets meet in: the common space, its channels, the MMD that aligns it, the way back out of it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from ka_explore.diagnosis.evidence import CannotCheck, Evidence, group, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import finite_rows, median
from ka_explore.diagnosis.terms import gradient_ratios
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.probes.alignment import CHANCE, pairs_found
from ka_explore.probes.results import Curves, Distribution, Scalars
from ka_explore.probes.samples import average
from ka_explore.probes.similarity import FLOOR, recorded
from ka_explore.probes.spectrum import dead_channels as dead_shares
from ka_explore.probes.spectrum import effective_rank
from ka_explore.run.snapshot import Snapshot

# Terms that draw student and teachers together in the common space.
ALIGNING = ("mmd", "paired", "cross", "classwise")


def own_rank(evidence: Evidence, teacher: str) -> float:
    """Effective rank of a teacher's feature: the last of its layers in the snapshot if it is not known which it is."""
    if not group(evidence.last, f"feature/{teacher}"):
        return float("nan")
    ranks = effective_rank(evidence.last, f"feature/{teacher}").values
    return ranks.get(f"{teacher}/{evidence.feature_layer(teacher)}", list(ranks.values())[-1])


def collapsed(evidence: Evidence) -> Iterator[Finding]:
    """Whether the nets met in a point or on a line: rows of the common space that are all alike, or of low rank."""
    common = group(evidence.last, "common")
    if not common:
        raise CannotCheck("the method's last stage has no common space.")
    width = max(rows.shape[1] for rows in common.values())
    if width == 1:
        raise CannotCheck("the common space has one channel: see not_reconstructable.")
    ranks = effective_rank(evidence.last, "common").values
    used = median([rank for net, rank in ranks.items() if net != "student"])
    needed = median([own_rank(evidence, teacher) for teacher in evidence.teachers])
    room = min(width, needed) if needed == needed else width
    decayed = float(evidence.options.get("weight_decay", 0)) > 1e-2
    opened = {"mmd_weight": 0.1, "reconstruction_weight": 1.0, "paired_weight": 0.0}
    seen = {s.step: effective_rank(s, "common").values for s in evidence.snapshots if group(s, "common")}
    over = {net: np.array([r[net] for r in seen.values()]) for net in common if all(net in r for r in seen.values())}
    finding = partial(
        judged,
        used=used,
        width=width,
        evidence={f"effective rank of {net}": rank for net, rank in ranks.items()}
        | {"width": float(width), "effective rank of the teachers' features (median)": needed},
        attempts=evidence.forks(
            *([("Decay the weights less.", {"weight_decay": 1e-4})] if decayed else []),
            ("Let the reconstruction hold the space open against the pull of the alignment.", opened),
        ),
        result=Curves(
            {net: np.array(list(seen)) for net in over},
            over,
            unit="effective rank",
            title="directions that the common space uses",
            levels={"width": float(width), "the teachers' own": needed},
        ),
    )
    yield finding("collapsed_rank", used / max(room, 1.0))
    yield finding("collapsed_rows", average(np.array([variation(rows) for rows in common.values()])))


def variation(rows: np.ndarray) -> float:
    """1 − ‖mean of the L2-normalised rows‖²: 0 where all point one way."""
    (rows,) = finite_rows(rows)
    if len(rows) < 2:
        return float("nan")
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return float(1 - (unit.mean(axis=0) ** 2).sum())


def dead_channels(evidence: Evidence) -> Iterator[Finding]:
    """Whether channels of student, teachers or common space are silent: the same for every image."""
    last = evidence.last
    found, first = silent(last), silent(evidence.snapshots[0])
    if len(last.index) < 2 or not found:
        raise CannotCheck("one sample, or no feature in the last snapshot.")
    for where, share in found.items():
        net, feature = where.split("/")[0], last.arrays.get(f"feature/{where}")
        teacher = net in last.knows
        lower = ("Take a smaller learning rate.", evidence.lower_rate())
        normed = ("Put batch norm into the common space.", {"norm": "batch"})
        born = share <= first.get(where, 0.0)  # dead before the first step: no rate did that
        anew = Attempt("Draw these weights anew: they were dead from the beginning.", code="student=lambda labels: …")
        yield judged(
            "dead_channels",
            share,
            # A teacher's or the student's own; in the common space it follows from what made it so.
            depth=(7.2 if share < 0.95 else 6.0) if teacher else 3.6,  # a layer dead as a whole is the wrong layer
            subject=net if teacher else where,
            where=where,
            evidence={"channels": float(feature.shape[1])} if feature is not None else {},
            attempts=(
                (Attempt("Name a layer of the teacher that is alive, or check its weights.", code="Teacher(…)"),)
                if teacher
                else (anew,)
                if born
                else evidence.forks(lower, *([normed] if where.startswith("common") else []))
            ),
            result=Scalars(found, unit="share", title="silent channels"),
        )


def silent(snapshot: Snapshot) -> dict[str, float]:
    """The share of silent channels by layer and by net in the common space, in the snapshot's order."""
    shares = {k: dead_shares(snapshot, k).values if group(snapshot, k) else {} for k in ("feature", "common")}
    named = (name.partition("/") for name in snapshot.arrays)
    return {f"{'common space, ' * (k == 'common')}{rest}": shares[k][rest] for k, _, rest in named if k in shares}


def mmd_saturated(evidence: Evidence) -> Iterator[Finding]:
    """Whether the MMD sees anything at its bandwidths: at its floor 2/N they are too small, near 0 too large."""
    if not float(evidence.weights().get("mmd", 1.0)) > 0:
        raise CannotCheck("the MMD has no weight.")
    seen = [found for found in map(recorded, evidence.snapshots) if found is not None]
    if not seen:
        raise CannotCheck("the snapshots hold no MMD by bandwidth.")
    last, floors = seen[-1], [found.levels[FLOOR] for found in seen]
    if 2 / floors[-1] < 8:
        raise CannotCheck("fewer than 8 samples.")
    # how far the bandwidth that sees most is from either end, by snapshot
    values = [np.concatenate(list(found.y.values())) for found in seen]
    ratios = [v[np.isfinite(v)] / floor for v, floor in zip(values, floors, strict=True) if np.isfinite(v).any()]
    _, gradients = gradient_ratios(evidence)
    around = {"bandwidths": (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)}
    finding = partial(
        judged,
        subject="mmd",
        evidence={
            "bandwidths": ", ".join(f"{s:g}" for s in next(iter(last.x.values()))),
            FLOOR: floors[-1],
            "samples": 2 / floors[-1],
            "gradient relative to the soft target's": median(gradients.get("mmd", [])),
        },
        attempts=[
            Attempt("Take bandwidths around the distances of the rows (unit rows lie 0 to 2 apart).", around, at=0)
        ],
        result=replace(last, across="bandwidth σ", title="MMD by bandwidth", log=(True, True), note=""),
    )
    farthest = max((float(np.abs(ratio - 1).max()) for ratio in ratios), default=float("nan"))
    yield finding("mmd_small", farthest)
    yield finding("mmd_large", max((float(ratio.max()) for ratio in ratios), default=float("nan")))


def not_aligned(evidence: Evidence) -> Iterator[Finding]:
    """Whether the student's points lie next to the same images' points of the teachers, where something aligns them."""
    weights, last = evidence.weights(), evidence.last
    asked = {term: weights[term] for term in ALIGNING if weights.get(term, 0.0) > 0}
    if not asked:
        raise CannotCheck("no term that aligns the nets has a weight.")
    if len(group(last, "common")) < 2 or len(last.index) < 20:
        raise CannotCheck("the last snapshot has no common space, or fewer than 20 images.")
    found = pairs_found(last, neighbours=(1,))
    shares = {teacher: share for teacher, share in found.values.items() if teacher in evidence.teaching}
    chance = found.levels[CHANCE]
    seen = [snapshot for snapshot in evidence.snapshots if len(group(snapshot, "common")) > 1]
    steps = np.array([snapshot.step for snapshot in seen])
    over = [pairs_found(snapshot, neighbours=(1,)).values for snapshot in seen]
    _, gradients = gradient_ratios(evidence)
    pulls = {term: median(gradients.get(term, [])) for term in asked}
    paired = any(asked.get(term) for term in ("paired", "cross"))
    yield judged(
        "not_aligned",
        (average(np.array(list(shares.values()))) - chance) / (1 - chance),
        evidence={f"pairs found, {teacher}": share for teacher, share in shares.items()}
        | {"pairs found by chance": chance}
        | {f"gradient of {term} relative to the soft target's": pull for term, pull in pulls.items()},
        # clouds that meet is all that was asked for, and in a few steps no pairs are found
        at_most="warning" if paired and len(evidence.rows) >= THRESHOLDS["few_steps"].warning else "note",
        attempts=evidence.forks(
            (
                "Ask that every image meets itself, and that its point says what the teacher says.",
                {"paired_weight": 1.0, "cross_weight": 1.0, "reconstruction_weight": 1.0, "pooling": "mean"},
            ),
        ),
        result=Curves(
            dict.fromkeys(shares, steps),
            {teacher: np.array([one.get(teacher, np.nan) for one in over]) for teacher in shares},
            unit=f"share of {len(last.index)} images",
            title="pairs found",
            levels={CHANCE: chance},
        ),
    )


def not_reconstructable(evidence: Evidence) -> Iterator[Finding]:
    """Whether each teacher's feature comes back from the common space, and whether that is wide enough at all."""
    errors = group(evidence.last, "error")
    if not errors:
        raise CannotCheck("the method's last stage reconstructs nothing.")
    if evidence.weights().get("reconstruction", 1.0) == 0:
        raise CannotCheck("the reconstruction has no weight: its decoders were not trained.")
    common = group(evidence.last, "common")
    width = next(iter(common.values())).shape[1] if common else 0
    figure = Distribution(errors, unit="share of the feature's variance", title="reconstruction error")
    term = evidence.term("reconstruction")
    weight = float(evidence.options.get("reconstruction_weight", 1.0))
    settled = len(term) >= 100 and not float(term[-1]) < 0.8 * float(term[len(term) * 2 // 3])
    for teacher, error in errors.items():
        rank = own_rank(evidence, teacher)
        narrow = bool(width) and width < THRESHOLDS["narrow_space"].warning * rank
        yield judged(
            "not_reconstructable",
            average(error),
            teacher,
            narrow=f": {width} channels are too narrow for it" if narrow else "",
            depth=4.8 if narrow else 2,
            evidence={"width of the common space": float(width), "effective rank of its feature": rank},
            attempts=evidence.forks(
                *([("Widen the common space.", {"width": max(16, int(np.ceil(rank)))})] if width < rank else []),
                *([("Weigh the reconstruction more.", {"reconstruction_weight": 1.0})] if weight < 1 else []),
            ),
            result=figure,
            at_most="warning" if settled or (narrow and len(term) >= 60) else "note",
        )
