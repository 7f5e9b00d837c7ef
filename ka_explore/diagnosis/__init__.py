"""Diagnosis: what is wrong with an amalgamation, the evidence, why it hurts, and what to try.

``diagnose(run)`` takes a run, or its folder on a machine without torch. Checks look at the teachers, at what the nets
meet in, and at the training; each finding has a place in the chain of causes, so that a teacher that is wrongly fed
is named before the poor reconstruction that follows from it. Thresholds stand in one table, `thresholds`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ka_explore.diagnosis import answers, feeding, labels, layers, learning, moving, ownership, space, terms, weights
from ka_explore.diagnosis.evidence import CannotCheck, Evidence
from ka_explore.diagnosis.findings import Attempt, Finding, Findings, shown
from ka_explore.diagnosis.thresholds import THRESHOLDS, Threshold
from ka_explore.errors import InputError, StoreError, checked

if TYPE_CHECKING:
    from ka_explore.run.run import Run
    from ka_explore.run.store import Store

CHECKS: Mapping[str, Callable[[Evidence], Iterator[Finding]]] = {
    check.__name__: check
    for check in (
        weights.weights_not_loaded,
        weights.mixed_weights,
        feeding.wrong_preprocessing,
        answers.augment_hides,
        answers.normalised_answers,
        answers.batch_dependence,
        answers.says_nothing,
        layers.layers,
        labels.labels_permuted,
        labels.wrong_answers,
        labels.teachers_disagree,
        answers.overconfident,
        answers.same_teacher_twice,
        labels.foreign_pool,
        learning.not_finite,
        space.collapsed,
        space.dead_channels,
        space.mmd_saturated,
        space.not_aligned,
        space.not_reconstructable,
        terms.dominating_term,
        terms.dominating_teacher,
        terms.inert_term,
        learning.rate_too_high,
        learning.not_learned,
        learning.starved_teacher,
        moving.few_distinct_images,
        moving.student_not_moving,
        ownership.whose_image,
    )
}
"""The checks by name, in the order in which they are told; to add one, name its function here."""

# Why a check that could look found nothing to judge.
NOTHING = {
    "augment_hides": "the pool augments nothing.",
    "labels_permuted": "too few labelled images of any teacher's own classes.",
    "wrong_answers": "too few labelled images of any teacher's own classes.",
    "teachers_disagree": "no two teachers share labels.",
    "same_teacher_twice": "no two teachers have the same labels.",
    "dominating_teacher": "the stages seen do not say what each teacher adds to a term.",
}

LEARNED = ("rate_too_low", "stopped_early", "student_too_small", "student_behind")
SPACE = ("collapsed", "not_aligned", "not_reconstructable", "inert_term", "mmd_saturated")
PULL = ("dominating_term", "dominating_teacher")
ANSWERS = ("overconfident", "underconfident", "starved_teacher", "teachers_disagree", "whose_image")
OF_A_TEACHER = ("says_nothing", "wrong_layer", "too_early_layer", "labels_permuted", "wrong_answers", "dead_channels")

# What a finding explains, if it stands deeper: these are then its consequences.
EXPLAINS: Mapping[str, Sequence[str]] = {
    "weights_not_loaded": ("mixed_weights", "wrong_preprocessing", *OF_A_TEACHER, *ANSWERS, *SPACE, *PULL, *LEARNED),
    "mixed_weights": ("wrong_preprocessing", *OF_A_TEACHER, *ANSWERS, *SPACE, *PULL, *LEARNED),
    "augment_hides": (*ANSWERS, *SPACE, *PULL, *LEARNED),
    "normalised_answers": ("says_nothing", *ANSWERS, *PULL, *LEARNED),
    "train_mode_batch_norm": ("wrong_preprocessing", *OF_A_TEACHER, *ANSWERS, *SPACE, *PULL, *LEARNED),
    "random_answers": (*OF_A_TEACHER, *ANSWERS, *SPACE, *PULL, *LEARNED),
    "wrong_preprocessing": (*OF_A_TEACHER, *ANSWERS, *SPACE, *PULL, *LEARNED),
    "few_distinct_images": ("wrong_preprocessing", *OF_A_TEACHER, *ANSWERS, *SPACE, *PULL, *LEARNED, "foreign_pool"),
    "student_not_moving": (*SPACE, *PULL, *LEARNED, "dead_channels"),
    "not_finite": ("rate_too_high", "dead_channels", *SPACE, *PULL, *LEARNED),
    "labels_permuted": ("wrong_answers", "teachers_disagree"),
    "wrong_answers": (*ANSWERS, *SPACE, *PULL, *LEARNED),
    "says_nothing": ("wrong_answers", "wrong_layer", "too_early_layer", *ANSWERS, *SPACE, *PULL, *LEARNED),
    "rate_too_high": ("dead_channels", "not_finite", *SPACE, *PULL, *LEARNED),
    "wrong_layer": ("dead_channels", *SPACE, *PULL, *LEARNED),
    "too_early_layer": (*SPACE, *PULL),
    "dead_channels": ("says_nothing", *ANSWERS, "wrong_layer", "too_early_layer", *SPACE, *PULL, *LEARNED),
    "overconfident": ("starved_teacher", *PULL, *LEARNED, "teachers_disagree", "whose_image"),
    "underconfident": ("starved_teacher", "overconfident", "dominating_teacher", "whose_image"),
    "foreign_pool": ANSWERS,
    "dominating_teacher": ("dominating_term", "not_reconstructable", "collapsed", *LEARNED),
    "dominating_term": ("dominating_teacher", *SPACE, *LEARNED, "dead_channels"),
    "starved_teacher": (*PULL, *LEARNED),
    "mmd_saturated": ("inert_term", "not_aligned"),
    "inert_term": ("not_reconstructable", "not_aligned", "collapsed"),
    "student_too_small": (*SPACE, "dead_channels"),
    "rate_too_low": (*SPACE, "dead_channels"),
    "stopped_early": (*SPACE, "dead_channels"),
    "collapsed": ("not_reconstructable", "not_aligned", "dead_channels", "inert_term", *LEARNED),
}


# What a check raises of an examination that is not one of `examine`.
DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def diagnose(run: "Run | Store | str | Path | Evidence") -> Findings:
    """What is wrong with a run, worst first; a healthy run gets no warning.

    Args:
        run: a run (its present state is looked at too, and its teachers are examined once, which is kept in its
            folder); or a run's folder, which is judged by what is stored in it; or the evidence itself.

    Raises:
        InputError: for anything else, a folder without a run, or a teacher that says something else now than when the
            run was made.
    """
    if isinstance(run, Evidence):
        return judge(run)
    if isinstance(run, (str, Path)):
        from ka_explore.run.store import Store

        run = Store(Path(run))
    given: Any = run  # Run and Store are known by what they have, as torch must not be imported to name them
    if hasattr(given, "load_snapshot"):
        return judge_stored(stored(given))
    if hasattr(given, "problem") and hasattr(given, "store"):
        try:
            return judge(live(given))
        except DAMAGED:
            return judge(live(given, anew=True))
    raise InputError(f"diagnose takes a Run, a run's folder or Evidence, got {type(run).__name__}.")


def stored(store: "Store") -> Evidence:
    """What a run's folder holds."""
    rows = list(store.rows())
    snapshots = []
    for step in store.snapshot_steps():
        if step <= len(rows):
            try:
                snapshots.append(store.load_snapshot(step))
            except StoreError as error:
                store.notes.append(f"{error} The diagnosis leaves it out.")
    return Evidence(store.about, rows, snapshots, read_examination(store))


def read_examination(store: "Store") -> dict[str, Any] | None:
    """What was found of the teachers, if these are still the run's; None otherwise."""
    found = store.load_examination()
    return None if found is None or found.get("fingerprints") != store.about["fingerprints"] else found


def live(run: "Run", *, anew: bool = False) -> Evidence:
    """The run's folder and its present state; teachers are examined, ``anew`` or if that is not in the folder yet."""
    from ka_explore.diagnosis.examine import examine
    from ka_explore.diagnosis.trained import moved
    from ka_explore.run.about import same_answers
    from ka_explore.run.store import replace_file, to_json

    same_answers(run.store.about, run.problem, run.folder)  # what is found now would not be what it learned from
    known = stored(run.store)
    kept = None if anew else known.examination
    found = kept if kept and "distinct" in kept else examine(run.problem)  # else kept by an earlier version
    method = {
        "student": {"parameters": sum(p.numel() for p in run.student.parameters()), "moved": moved(run)},
        "layers_taken": {teacher: list(taken) for teacher, taken in run.method.teacher_layers().items()},
    }
    if known.examination is None or {**found, **method} != found:
        found = {**found, **method}
        try:
            replace_file(run.folder / "examination.json", lambda file: file.write(to_json(found)))
        except OSError as error:
            run.store.notes.append(f"the examination of the teachers could not be kept: {error}.")
    snapshots = [*(s for s in known.snapshots if s.step < run.step), run.snapshot()]
    return replace(known, rows=run.history(), snapshots=snapshots, examination=found, steps=run.steps)


def judge_stored(evidence: Evidence) -> Findings:
    """`judge`; where what was kept of the teachers is not what `examine` finds, as a file may be, without it."""
    try:
        return judge(evidence)
    except DAMAGED as error:
        if evidence.examination is None:
            raise
        found = judge(replace(evidence, examination=None))
        why = f"examination.json cannot be judged ({error!r}): diagnose the opened run, which examines them anew."
        return replace(found, skipped={**found.skipped, "the teachers": why})


@checked
def judge(evidence: Evidence) -> Findings:
    """All checks over the evidence; torch is not needed."""
    everything: list[Finding] = []
    skipped: dict[str, str] = {}
    checked: dict[str, str] = {}
    for name, check in CHECKS.items():
        try:
            found = [finding.with_forks_for(evidence.options) for finding in check(evidence)]
        except CannotCheck as reason:
            skipped[name] = str(reason)
            continue
        everything += found
        if found:
            checked[name] = measured(found)
        elif name in NOTHING:
            skipped[name] = NOTHING[name]
    told = demoted(everything, evidence.teachers)
    ordered = sorted(told, key=lambda f: (f.grade != "warning", -f.score))
    return Findings(tuple(ordered), checked, skipped, str(evidence.about.get("name", "")), tuple(everything))


def measured(found: Sequence[Finding]) -> str:
    """The worst value of a check, in words."""
    worst = max(found, key=lambda f: f.score)
    (what, value), (side, limit) = list(worst.evidence.items())[:2]
    subject = f" ({worst.subject})" if worst.subject else ""
    return f"{what} {shown(value)}{subject}, {side} {shown(limit)}"


def demoted(findings: Sequence[Finding], teachers: Sequence[str] = ()) -> list[Finding]:
    """Warnings and notes, each thing once; what follows from another warning becomes a note that says so."""
    kept: dict[tuple[str, str], Finding] = {}
    for finding in sorted(findings, key=lambda f: (f.grade != "warning", -f.score)):
        if finding.grade != "fine":
            kept.setdefault((finding.name, finding.subject), finding)
    causes = [f for f in kept.values() if f.grade == "warning"]
    result = []
    for finding in kept.values():
        why = next((c for c in causes if explains(c, finding, teachers)), None)
        result.append(replace(finding, grade="note", because=why.title) if why else finding)
    return result


def explains(cause: Finding, effect: Finding, teachers: Sequence[str] = ()) -> bool:
    """Whether one finding is the likely cause of another: it says so, stands deeper, and is of no other teacher."""
    # What is said of one teacher is explained by what is wrong with that teacher or with the whole run.
    whose, of = (named(finding.subject, teachers) for finding in (cause, effect))
    other = bool(whose and of) and not whose & of
    return cause.score > effect.score and effect.name in EXPLAINS.get(cause.name, ()) and not other


def named(subject: str, teachers: Sequence[str]) -> set[str]:
    """The teachers that a subject is about: ``one``, ``one / other`` or ``common space, one``; none for a term."""
    return {teacher for teacher in teachers if teacher in (subject, *re.split(" / |, ", subject))}


__all__ = ["CHECKS", "THRESHOLDS", "diagnose", "judge"]
__all__ += ["Attempt", "CannotCheck", "Evidence", "Finding", "Findings", "Threshold"]
