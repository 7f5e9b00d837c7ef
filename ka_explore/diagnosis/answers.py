"""Whether a teacher's answers can be learned: they are its own, tell something, and are as loud as the others'."""

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np

from ka_explore.diagnosis.evidence import Evidence, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import finite_rows, number
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.probes.logits import logsumexp, relative_entropy, softmax
from ka_explore.probes.results import Distribution

FEW = 8  # samples below which nothing is said of a distribution
READING = {
    "probabilities": "Teacher({name!r}, module, read=lambda output: logits_of(output).clamp_min(1e-12).log(), …)",
    "log-probabilities": "module.head[-1] = nn.Identity()  # of {name!r}: in place of its LogSoftmax, wherever that is",
}
AGREE = "Let targets agree with the image's neighbours, as far as the pool supports it."
EVEN = "Bring the teachers' answers to one mean and spread."
WITHIN = "Compare answers within each teacher's classes only."


def batch_dependence(evidence: Evidence) -> Iterator[Finding]:
    """Whether an answer depends on the other images of the batch: batch norm that stayed in training mode."""
    for name, seen in evidence.examined().items():
        moved = 1.0 if seen.get("alone_refused") else number(seen.get("batch_dependence"))
        stays = {"modules still in training mode": ", ".join(seen["training"][:5]) or "none that say so"}
        refused = seen["failed"].get("batch_dependence", "")
        noise = number(seen.get("noise"))
        moved = moved if THRESHOLDS["noise"].grade(noise) == "fine" else 0.0
        yield judged("batch_dependence", moved, name, stays | ({"refused": refused} if refused else {}))
        yield judged("noise", noise, name, stays)


def says_nothing(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher's answers depend on the image at all: an untrained or broken net says the same of all."""
    for name, seen in evidence.examined().items():
        if seen["labels"] < 2:
            continue
        given = seen["given"]
        # answers that differ from image to image once they are brought to one scale are only timid
        told = max(number(given["information"]), number(given["spread"]) if number(given["spread"]) > 0.25 else 0.0)
        numbers = {"mean largest probability": number(given["confidence"]), "labels": float(seen["labels"])}
        yield judged("says_nothing", told, name, numbers)


def augment_hides(evidence: Evidence) -> Iterator[Finding]:
    """Whether the teachers tell as much of the images as the pool augments them; of the one that tells least of it."""
    told = {}
    for name, seen in evidence.examined().items():
        if "augmented" in seen:
            plain, hidden = (number(seen[what]["information"]) for what in ("given", "augmented"))
            told[name] = hidden / max(plain, 1e-3)
    if told:
        teacher = min(told, key=lambda name: told[name])
        yield judged("augment_hides", told[teacher], "", {"by teacher": teacher}, teacher=teacher)


def normalised_answers(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher puts out probabilities or their logarithms, which a softmax over several teachers misreads."""
    found: dict[str, tuple[str, float]] = {}
    for name, seen in evidence.examined().items():
        given = seen["given"]
        if seen["labels"] > 1 and "sums" in given:
            sums = number(given["sums"]) if number(given["low"]) >= 0 else np.inf
            kinds = ("probabilities", sums), ("log-probabilities", number(given["level_most"]))
            found[name] = min(kinds, key=lambda kind: kind[1])
    fine = {name for name, (_, value) in found.items() if THRESHOLDS["normalised_answers"].grade(value) == "fine"}
    for name, (kind, value) in found.items():
        others = [mate for mate in evidence.mates(name) if mate in fine] if name not in fine else []
        log = kind == "log-probabilities"
        yield judged(
            "normalised_answers",
            value,
            name,
            {"kind": kind, "teachers beside it that put out logits": ", ".join(others) or "none"},
            attempts=evidence.forks((EVEN, {"targets": "standardised"})),
            at_most="note" if log and not others else "warning",  # logarithms alone are logits like any other
            kind=kind,
            otherwise="" if log else ", or read the logarithm of what it puts out",
            reading=READING[kind].format(name=name),
        )
    # The student's, task by task side by side; of them logarithms do no harm, as what they stand for is the same.
    if (student := evidence.last.arrays.get("logits/student")) is not None and len(rows := finite_rows(student)[0]):
        tasks = len({task for task, _ in evidence.last.classes})
        off = max(float(np.abs(rows.sum(axis=1) - tasks).max()), -float(rows.min()))
        yield judged("student_normalised", off)


def overconfident(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher's logits drown those of the others of its task: over-confident beyond its own images."""
    rivals = evidence.rivals(evidence.teachers)
    for name, mates in rivals.items():
        logits = {t: finite_rows(evidence.logits(t))[0] for t in (name, *mates)}
        if min(len(z) for z in logits.values()) < FEW:
            continue
        scale = {t: float(np.sqrt((z - z.mean(axis=1, keepdims=True)).var())) for t, z in logits.items()}
        totals = {t: logsumexp(z) for t, z in logits.items()}
        level = {t: float(np.median(total)) for t, total in totals.items()}
        certain = {t: 1 - float(relative_entropy(z).mean()) for t, z in logits.items()}
        usual, sure = float(np.median([scale[t] for t in mates])), certain[name]
        ratio = scale[name] / max(usual, 1e-9)
        lead = (level[name] - float(np.median([level[t] for t in mates]))) / max(usual, scale[name], 1e-9)
        timid = max(certain[t] for t in mates) < 0.1 and sure < 0.95  # it is not loud, the others are hardly heard
        alike = len(set(map(len, totals.values()))) == 1
        claimed = softmax(np.stack(list(totals.values()), axis=1))[:, 0].mean() if alike else np.nan
        finding = partial(
            judged,
            subject=name,
            ratio=ratio,
            evidence={
                "share of the joint answer it claims": float(claimed),
                "fair share": 1 / len(logits),
                "scale of its logits": scale[name],
                "median of the others'": usual,
                "how sure it is of all images (1: certain)": sure,
            },
            attempts=(
                *evidence.forks((AGREE, {"targets": "consistent"}), (WITHIN, {"soft_target": "restricted"})),
                Attempt(
                    f"Bring the logits of {name!r} to the others' scale.",
                    code=f"Teacher({name!r}, module, read=lambda output: logits_of(output) / {ratio:.3g}, …)",
                ),
            ),
            result=Distribution(totals, unit="log Σ exp of the logits", title="how loud the teachers are"),
        )
        yield finding("claims_scale", ratio if sure > 0.5 and not timid else 0.0)
        yield finding("claims_level", lead)
        even = evidence.forks((EVEN, {"targets": "standardised"}), (WITHIN, {"soft_target": "restricted"}))
        drowned = max(usual, 1e-9) / max(scale[name], 1e-9) if sure < 0.1 else 0.0
        yield finding("claims_timid", drowned, attempts=even)


def same_teacher_twice(evidence: Evidence) -> Iterator[Finding]:
    """Whether two teachers are one net under two names."""
    for one, two in combinations(evidence.teachers, 2):
        if evidence.last.knows[one] != evidence.last.knows[two]:
            continue
        first, second = finite_rows(evidence.logits(one), evidence.logits(two))
        if len(first) < 3 or first.std() == 0 or second.std() == 0:
            continue
        alike = float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
        yield judged("twins", alike, f"{one} / {two}", one=one, two=two)
