"""Whose image it is: whether each image is taught by a teacher that knows it.

Every teacher may be right on its own images, and the student wrong: where teachers know different classes, somebody has
to say which of them an image belongs to, and their answers do not compare. With true labels this is counted; without
any, images that are alike should at least go to the same teacher.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ka_explore.diagnosis.answers import AGREE, FEW
from ka_explore.diagnosis.evidence import CannotCheck, Evidence, group, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.probes.logits import entropy, logsumexp, softmax
from ka_explore.probes.results import Scalars

LABELLED = 20  # images of known label below which these are not counted
WITHIN = ("restricted", "joint_posterior")  # soft targets that compare answers within a teacher's own classes only
SPAN = "Let one softmax over all teachers say whose image it is."
CODE = 'Run(problem, "distillation", targets="consistent")'


def whose_image(evidence: Evidence) -> Iterator[Finding]:
    """Whether images go to teachers that know them: by the targets in force or, where these do not say, the student."""
    if evidence.about.get("uses_labels") or not evidence.about.get("soft_terms") or evidence.steps == 1:
        raise CannotCheck("the method does not learn the teachers' answers step by step.")
    rivals = evidence.rivals(evidence.teaching)
    for task in dict.fromkeys(evidence.task_of[name] for name in rivals):
        names = [name for name in rivals if evidence.task_of[name] == task]
        if len({frozenset(evidence.last.knows[name]) for name in names}) == 1:
            continue  # whoever is asked knows all there is
        shares = taught(evidence, names)
        try:
            truth = evidence.truth(names[0])
        except CannotCheck:
            truth = np.full(len(evidence.last.index), -1)
        knows = np.stack([np.isin(truth, evidence.last.knows[name]) for name in names], axis=1)
        counted = np.any(knows, axis=1) & ~np.all(knows, axis=1)
        subject = task if len(set(evidence.task_of.values())) > 1 else ""
        if counted.sum() >= LABELLED:
            yield by_labels(evidence, names, shares, truth, counted, subject)
        elif shares is not None and len(shares) >= FEW:
            yield by_neighbours(evidence, names, shares, subject)


def taught(evidence: Evidence, names: Sequence[str]) -> np.ndarray | None:
    """How much of each image each of these teachers teaches, (sample, teacher); None where nothing compares them."""
    if evidence.options.get("soft_target") in WITHIN:
        return None
    recorded = group(evidence.last, "claim/target")
    if all(name in recorded for name in names):
        return np.stack([recorded[name] for name in names], axis=1)
    return selected(evidence, names, str(evidence.options.get("selection", "claim")))


def selected(evidence: Evidence, names: Sequence[str], kind: str) -> np.ndarray | None:
    """The same by a selection, as `ka_explore.methods.adaptive` names them; ``claim`` is one softmax over all."""
    logits = [evidence.logits(name) for name in names]
    if kind == "none":
        return None
    if kind == "claim":
        return softmax(np.stack([logsumexp(z) for z in logits], axis=1))
    surest = -np.stack([entropy(z) for z in logits], axis=1)
    if kind == "hard":
        return np.eye(len(names))[surest.argmax(axis=1)]
    return softmax(surest / float(evidence.options.get("selection_temperature", 0.1)))


def by_labels(
    evidence: Evidence,
    names: Sequence[str],
    shares: np.ndarray | None,
    truth: np.ndarray,
    counted: np.ndarray,
    subject: str,
) -> Finding:
    """How many of the counted images go to a teacher that does not know their class."""
    last, options = evidence.last, evidence.options
    known = [np.array(last.knows[name]) for name in names]
    knows = np.stack([np.isin(truth, k) for k in known], axis=1)[counted]
    said = np.stack([k[evidence.logits(n).argmax(axis=1)] for n, k in zip(names, known, strict=True)], axis=1)[counted]
    right = said == truth[counted, None]
    rows = np.arange(len(right))
    classes = np.unique(np.concatenate(known))
    student = classes[last.arrays["scores"][counted][:, classes].argmax(axis=1)] if "scores" in last.arrays else None

    def lost(share: np.ndarray | None) -> float:
        return float("nan") if share is None else 1 - float(knows[rows, share[counted].argmax(axis=1)].mean())

    joint = selected(evidence, names, "claim")
    assert joint is not None
    asked = joint[counted].argmax(axis=1)
    numbers = {
        "right when asked the teacher that knows the class": float((right & knows).any(axis=1).mean()),
        "right side by side, by one softmax": float(right[rows, asked].mean()),
    }
    value = lost(shares)
    if student is not None:
        both = np.stack([np.isin(student, k) for k in known], axis=1)
        numbers["right of the student"] = float((student == truth[counted]).mean())
        strayed = 1 - float((both & knows).any(axis=1).mean())
        numbers["images whose answer of the student is another teacher's"] = strayed
        value = strayed if shares is None else value
    # where no softmax spans the teachers, better targets alone are not seen
    span = {"soft_target": "stacked"} if options.get("soft_target") in WITHIN else {"selection": "claim"}
    attempts = [(AGREE, {"targets": "consistent"} | (span if shares is None else {}))]
    attempts += [(SPAN, span)] if lost(joint) < value else []
    return judged(
        "whose_image",
        value,
        subject,
        numbers | {"images counted": float(counted.sum())},
        attempts=evidence.forks(*attempts) or [Attempt(AGREE, code=CODE)],
        result=Scalars(dict(numbers), unit="share of the images", title="right answers"),
        # without a target that says whose, only a student that had the time to learn can be asked
        at_most="warning" if shares is not None or len(evidence.rows) >= THRESHOLDS["few_steps"].warning else "note",
    )


def by_neighbours(evidence: Evidence, names: Sequence[str], shares: np.ndarray, subject: str) -> Finding:
    """How often an image and the one most like it go to different teachers, relative to chance."""
    owner = shares.argmax(axis=1)
    features = [rows for name in names for rows in list(group(evidence.last, f"feature/{name}").values())[-1:]]
    if not features:
        raise CannotCheck("the snapshot has no feature of a teacher by which images are alike.")
    units = []
    for rows in features:
        rows = np.nan_to_num(rows.astype(np.float64))
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        rows = rows - rows.mean(axis=0)
        units.append(rows / max(float(np.sqrt((rows**2).sum(axis=1).mean())), 1e-12))
    space = np.concatenate(units, axis=1)
    squares = (space**2).sum(axis=1)
    far = squares[:, None] + squares - 2 * space @ space.T
    np.fill_diagonal(far, np.inf)
    differ = float((owner[far.argmin(axis=1)] != owner).mean())
    chance = 1 - float((np.bincount(owner) ** 2).sum()) / len(owner) ** 2
    claimed = {name: float((owner == i).mean()) for i, name in enumerate(names)}
    return judged(
        "whose_neighbour",
        differ / chance if chance > 0 else float("nan"),
        subject,
        {"nearest image goes to another teacher": differ, "by chance": chance},
        attempts=evidence.forks((AGREE, {"targets": "consistent"})) or [Attempt(AGREE, code=CODE)],
        result=Scalars(claimed, unit="share of the images", title="whose images they are"),
    )
