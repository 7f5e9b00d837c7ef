"""Whether a teacher's answers can be learned: they are its own, tell something, and are as loud as the others'."""

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np

from ka_explore.diagnosis.evidence import CannotCheck, Evidence, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import finite_rows, number
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.probes.logits import logsumexp, relative_entropy, softmax
from ka_explore.probes.results import Distribution

FEW = 8  # samples below which nothing is said of a distribution


def batch_dependence(evidence: Evidence) -> Iterator[Finding]:
    """Whether an answer depends on the other images of the batch: batch norm that stayed in training mode."""
    for name, seen in evidence.examined().items():
        moved = 1.0 if seen.get("alone_refused") else number(seen.get("batch_dependence"))
        stays = {"modules still in training mode": ", ".join(seen["training"][:5]) or "none that say so"}
        refused = seen["failed"].get("batch_dependence", "")
        noise = number(seen.get("noise"))
        yield judged(
            "batch_dependence",
            moved if THRESHOLDS["noise"].grade(noise) == "fine" else 0.0,
            f"Teacher {name!r} answers by the company an image is in: batch norm works in training mode.",
            name="train_mode_batch_norm",
            depth=9.5,
            subject=name,
            evidence=stays | ({"refused": refused} if refused else {}),
            measure="answers move with the company (share of their deviation)",
            why="Batch norm in training mode normalises by the batch at hand, so a cached answer is not the one it "
            "would give, and the mix of classes in a batch leaks into every feature.",
            attempts=(
                Attempt(
                    f"Make {name!r} use the statistics it kept: eval mode, track_running_stats=True, no "
                    "batch_norm(…, training=True) in its forward.",
                    code=f"module.eval()  # the net of {name!r}; then build the teacher and the problem anew",
                ),
            ),
        )
        yield judged(
            "noise",
            noise,
            f"Teacher {name!r} gives another answer each time it is asked: dropout or noise is left on.",
            name="random_answers",
            depth=9.4,
            subject=name,
            evidence=stays,
            measure="answers move by themselves (share of their deviation)",
            why="The student is taught one draw of the noise, and targets from the cache are not those asked live.",
            attempts=(Attempt(f"Switch dropout off in {name!r}.", code="module.eval()"),),
        )


def says_nothing(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher's answers depend on the image at all: an untrained or broken net says the same of all."""
    for name, seen in evidence.examined().items():
        if seen["labels"] < 2:
            continue
        given = seen["given"]
        # answers that differ from image to image once they are brought to one scale are only timid
        told = max(number(given["information"]), number(given["spread"]) if number(given["spread"]) > 0.25 else 0.0)
        yield judged(
            "says_nothing",
            told,
            f"Teacher {name!r} says nearly the same of every image: it looks untrained, or is not fed properly.",
            depth=7,
            subject=name,
            evidence={"mean largest probability": number(given["confidence"]), "labels": float(seen["labels"])},
            measure="told by its answers (share of log K)",
            why="There is nothing to learn from it, and its columns only dilute the others' answers.",
            attempts=(
                Attempt(
                    f"Check that the weights of {name!r} were loaded, and what it is fed.",
                    code="missing = module.load_state_dict(weights, strict=True)",
                ),
            ),
        )


def overconfident(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher's logits drown those of the others of its task: over-confident beyond its own images."""
    found = False
    for name in evidence.teachers:
        mates = evidence.mates(name)
        if not mates:
            continue
        found = True
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
        alike = len({len(total) for total in totals.values()}) == 1
        finding = partial(
            judged,
            subject=name,
            evidence={
                "share of the joint answer it claims": (
                    float(softmax(np.stack(list(totals.values()), axis=1))[:, 0].mean()) if alike else float("nan")
                ),
                "fair share": 1 / len(logits),
                "scale of its logits": scale[name],
                "median of the others'": usual,
                "how sure it is of all images (1: certain)": sure,
            },
            attempts=(
                *evidence.forks(
                    (
                        "Let targets agree with the image's neighbours, as far as the pool supports it.",
                        {"targets": "consistent"},
                    ),
                    ("Compare answers within each teacher's classes only.", {"soft_target": "restricted"}),
                ),
                Attempt(
                    f"Bring the logits of {name!r} to the others' scale.",
                    code=f"Teacher({name!r}, module, read=lambda output: logits_of(output) / {ratio:.3g}, …)",
                ),
            ),
            result=Distribution(totals, unit="log Σ exp of the logits", title="how loud the teachers are"),
        )
        why = (
            "Answers are joined by one softmax: who speaks louder owns the image, also those it knows nothing of. The "
            "student then puts foreign images into this teacher's classes."
        )
        yield finding(
            "claims_scale",
            ratio if sure > 0.5 and not timid else 0.0,
            f"Teacher {name!r} is over-confident: its logits are {ratio:.1f} times the others', on images not its own "
            "too, and take their probability mass.",
            name="overconfident",
            depth=5.5,
            why=why,
            measure="scale of its logits relative to the others'",
        )
        yield finding(
            "claims_level",
            lead,
            f"Teacher {name!r} claims images that are not its own: its logits lie above the others' as a whole.",
            name="overconfident",
            depth=5.5,
            why=why,
            measure="level of its logits above the others' (in their deviations)",
        )
        yield finding(
            "claims_timid",
            max(usual, 1e-9) / max(scale[name], 1e-9) if sure < 0.1 else 0.0,
            f"Teacher {name!r} is never sure: its logits are a fraction of the others', which drown it.",
            name="underconfident",
            depth=5.4,
            measure="scale of the others' logits relative to its own",
            why="Where answers are compared, by a joint softmax or by entropy, it never wins an image, not even its "
            "own.",
        )
    if not found:
        raise CannotCheck("no task has two teachers.")


def same_teacher_twice(evidence: Evidence) -> Iterator[Finding]:
    """Whether two teachers are one net under two names."""
    pairs = 0
    for one, two in combinations(evidence.teachers, 2):
        if evidence.last.knows[one] != evidence.last.knows[two]:
            continue
        first, second = finite_rows(evidence.logits(one), evidence.logits(two))
        if len(first) < 3 or first.std() == 0 or second.std() == 0:
            continue
        pairs += 1
        yield judged(
            "twins",
            float(np.corrcoef(first.ravel(), second.ravel())[0, 1]),
            f"Teachers {one!r} and {two!r} give the same answers: one net under two names.",
            name="same_teacher_twice",
            depth=5.1,
            subject=f"{one} / {two}",
            measure="correlation of their logits",
            why="It is counted twice and weighs double against the others.",
            attempts=(
                Attempt(f"Leave {two!r} out of the problem.", code="dataclasses.replace(problem, teachers=[…])"),
            ),
        )
    if not pairs:
        raise CannotCheck("no two teachers have the same labels.")
